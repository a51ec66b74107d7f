"""Read what a run left: a directory of ``voice-agent test``, a folder of ``talk --save``, rows of ``--jsonl``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...budget.export import read_jsonl
from ...budget.intervals import Interval, Percentile, estimate_percentile
from ...budget.ledger import Stage, Turn
from ...budget.turn_verdict import Budget
from ...errors import ConfigError, UsageError
from ...talk.save import RECORDING
from ..scenario.expect import Check
from ..scenario.results import AUDIO, RUN, STEPS, TURNS, Result, StepResult, read_run
from ..verdict.compare import Comparison, Moved, VerdictOutcome, compare
from ..verdict.work import by_item

KINDS = {"test": "scripted test", "talk": "saved call", "script": "spoken recordings"}


@dataclass(slots=True)
class Loaded:
    """One run. ``result``: as the runner had it, so that JUnit and tables come from the same code.

    ``kind``: a key of :data:`KINDS`; ``turns``: every row, warm-up included; ``facts``: run.json (``{}`` without one);
    ``recording``: the stereo WAV, None if there is none; ``problems``: what could not be read.
    """

    kind: str
    result: Result
    turns: list[Turn]
    budget: Budget
    facts: dict[str, Any] = field(default_factory=dict)
    recording: Path | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.result.name

    @property
    def counted(self) -> list[Turn]:
        """Rows that are no warm-up. Those that no step claims count too."""
        warm = {id(step.row) for step in self.result.steps if step.warmup}
        return [turn for turn in self.turns if id(turn) not in warm]

    @property
    def latencies_ms(self) -> list[float]:
        """Voice-to-voice times of the answered turns that were not cut off and did not fail, in order."""
        return [ms for t in self.counted if t.counts_for_latency and (ms := t.voice_to_voice_ms) is not None]

    @property
    def simulated(self) -> list[str]:
        """Which parts were not real in any turn."""
        return sorted({part for turn in self.turns for part in turn.simulated})


def load(paths: Sequence[Path]) -> list[Loaded]:
    """Every run that ``paths`` name; a folder of run directories stands for all of them, in the order of their names.

    Raises UsageError for anything else, ConfigError for a damaged or newer run.
    """
    return [_one(path) for given in paths for path in _spread(given)]


def pairs(runs: Sequence[Loaded]) -> list[tuple[Loaded, Loaded, Comparison]]:
    """Runs of the same script, the first given and the last: (before, after, the verdict on after)."""
    of_name: dict[str, list[Loaded]] = {}
    for run in runs:
        if run.counted:
            of_name.setdefault(run.name, []).append(run)
    if not any(len(same) > 1 for same in of_name.values()) and len(runs) == 2 and all(run.counted for run in runs):
        of_name = {"": list(runs)}  # exactly two runs are compared even if their names differ
    return [(same[0], same[-1], compared(same[0], same[-1])) for same in of_name.values() if len(same) > 1]


def compared(before: Loaded, after: Loaded) -> Comparison:
    """The verdict on ``after``, by the rules of docs/verdict.md."""
    return compare(
        by_item(before.counted),
        by_item(after.counted),
        calibration=(before.result.calibration_ms, after.result.calibration_ms),
        cut_offs=(sum(t.cut_off for t in before.counted), sum(t.cut_off for t in after.counted)),
        seed=after.result.seed,
    )


def _spread(path: Path) -> list[Path]:
    if not path.is_dir() or (path / RUN).exists() or (path / TURNS).exists():
        return [path]
    runs = sorted(p.parent for p in path.glob(f"*/{RUN}"))
    if not runs:
        raise UsageError(
            f"{path}: no run in it. Name a directory of 'voice-agent test' ({RUN}), a folder of 'voice-agent talk"
            f" --save' ({TURNS}), or a file of 'voice-agent script --jsonl'"
        )
    return runs


def _one(path: Path) -> Loaded:
    if path.is_dir():
        return _test(path) if (path / RUN).exists() else _talk(path)
    if not path.exists():
        raise UsageError(f"{path}: no such run; voice-agent test keeps its runs in out/runs")
    return _plain("script", path.stem, path, path.with_suffix(".wav"))


def _talk(folder: Path) -> Loaded:
    return _plain("talk", folder.resolve().name, folder / TURNS, folder / RECORDING)


def _plain(kind: str, name: str, rows: Path, recording: Path) -> Loaded:
    """Rows without a script: every turn is a step of its own, expected to be answered and not cut off."""
    turns, problems = read_jsonl(rows)
    if not turns:
        raise UsageError(f"{rows}: no turn in it ({problems[0] if problems else 'the file is empty'})")
    result = Result(name, KINDS[kind], rows, kind, 0, rows.parent)
    for place, turn in enumerate(turns):
        checks = [Check("answered", turn.answered and turn.error is None, _answer(turn))]
        checks.append(Check("must_not_cut_off", not turn.cut_off, "cut off" if turn.cut_off else "not cut off"))
        result.steps.append(
            StepResult(
                index=place, round=0, kind="typed" if turn.typed else "speech",
                name=turn.item or turn.user_text or f"turn {turn.id}", line=place + 1, said=turn.user_text,
                said_s=None, checks=tuple(checks), row=turn, answered=turn.answered,
            )
        )  # fmt: skip
    found = Loaded(kind, result, turns, _budget(rows), problems=problems)
    found.recording = recording if recording.exists() else None
    _figures(found)
    return found


def _answer(turn: Turn) -> str:
    if turn.error is not None:
        return str(turn.error)
    return "yes" if turn.answered else "no answer"


def _test(folder: Path) -> Loaded:
    facts = read_run(folder)
    turns: list[Turn] = []
    problems: list[str] = []
    if (folder / TURNS).exists():
        turns, problems = read_jsonl(folder / TURNS)
    try:
        result = Result(
            str(facts["scenario"]), str(facts["guards"]), Path(str(facts["script"])),
            str(facts["target"]), int(facts["seed"]), folder,
        )  # fmt: skip
        result.whole = [_check(row) for row in facts["whole"]]
        result.calibration_ms = [float(ms) for ms in facts["calibration_ms"]]
        checked = facts["self_check"]
        worst = checked["worst_difference_ms"]
        result.worst_difference_ms = None if worst is None else float(worst)
        result.compared = int(checked["turns"])
        result.notes = [str(note) for note in facts["notes"]]
        result.interrupted = bool(facts["interrupted"])
        result.error = None if facts["error"] is None else str(facts["error"])
        result.comparison = comparison_of(facts["verdict"])
        result.intervals = {str(name): _percentile(row) for name, row in facts["figures"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{folder / RUN}: damaged ({type(error).__name__}: {error}); run the script again") from None
    by_id = {turn.id: turn for turn in turns}
    if (folder / STEPS).exists():
        for number, line in enumerate((folder / STEPS).read_bytes().split(b"\n"), 1):
            if line.strip():
                try:
                    result.steps.append(_step(json.loads(line), by_id))
                except (KeyError, TypeError, ValueError) as error:
                    problems.append(f"{STEPS} line {number}: not a step ({error}); skipped")
    recording = folder / AUDIO
    return Loaded(
        "test", result, turns, _budget(folder / TURNS), facts, recording if recording.exists() else None, problems
    )


def _step(row: Mapping[str, Any], turns: Mapping[Any, Turn]) -> StepResult:
    said = row["said_s"]
    return StepResult(
        index=int(row["index"]), round=int(row["round"]), kind=str(row["kind"]), name=str(row["name"]),
        line=int(row["line"]), said=str(row["said"]), said_s=None if said is None else (float(said[0]), float(said[1])),
        checks=tuple(_check(check) for check in row["checks"]), row=turns.get(row["turn"]),
        answered=bool(row["answered"]), wants_answer=bool(row["wants_answer"]), stopped_ms=row["stopped_ms"],
        resumed=row["resumed"], calls=tuple((str(call["name"]), dict(call["args"])) for call in row["calls"]),
    )  # fmt: skip


def _check(row: Mapping[str, Any]) -> Check:
    return Check(str(row["what"]), None if row["ok"] is None else bool(row["ok"]), str(row["said"]))


def _interval(row: Mapping[str, Any]) -> Interval:
    return Interval(float(row["estimate"]), float(row["low"]), float(row["high"]), int(row["n"]))


def _percentile(row: Mapping[str, Any]) -> Percentile:
    low, high = (None if row[key] is None else float(row[key]) for key in ("low", "high"))
    return Percentile(float(row["estimate"]), low, high, int(row["n"]))


def comparison_of(row: Mapping[str, Any] | None) -> Comparison | None:
    """The verdict that run.json holds. KeyError, TypeError or ValueError for what is none."""
    if row is None:
        return None
    total, guilty, machine = _moved(row["total"]), _moved(row["guilty"]), row["machine"]
    stages = tuple(moved for one in row["stages"] if (moved := _moved(one)) is not None)
    return Comparison(
        VerdictOutcome(row["outcome"]), total, stages, guilty, None if machine is None else _interval(machine),
        row["more"], (int(row["cut_offs"][0]), int(row["cut_offs"][1])), tuple(str(note) for note in row["notes"]),
    )  # fmt: skip


def _moved(row: Mapping[str, Any] | None) -> Moved | None:
    if row is None:
        return None
    return Moved(str(row["measure"]), float(row["before_ms"]), _interval(row["difference"]), float(row["tolerance_ms"]))


def _budget(rows: Path) -> Budget:
    """The budget of the rows, by their first one; the default without one."""
    try:
        with rows.open("rb") as stream:
            said = json.loads(stream.readline())["budget_ms"]
        shares: dict[str, Any] = {f"{stage}_ms": float(said[stage]) for stage in Stage}
        return Budget(total_ms=float(said["total"]), **shares)
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return Budget()


def _figures(run: Loaded) -> None:
    if latencies := run.latencies_ms:
        run.result.intervals = {
            name: estimate_percentile(latencies, q) for name, q in (("p50_ms", 50.0), ("p95_ms", 95.0))
        }
