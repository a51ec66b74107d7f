"""What the page always shows, as one small object: runs, verdicts, a line a turn. Nothing here knows HTML."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from ...budget.ledger import Mark, Stage, Turn, verdict
from ...config import load as load_config
from ...errors import AudioError
from ..scenario.results import StepResult
from ..verdict.baseline import public_config
from ..verdict.compare import Comparison, Moved, VerdictOutcome
from ..verdict.work import TOTAL, by_item
from .read_runs import KINDS, Loaded, pairs
from .turn_evidence import origin_s, record_of
from .waveform import Recording, RecordingSpan, spoken_into, window_of

UNTRUSTED_MS = 20.0
BEFORE_AFTER = ("before", "after")
SHOWN = 140  # characters of a text in the list; the whole of it is in the turn's own object
_STAGES = tuple(Stage)


@dataclass(slots=True)
class Entry:
    """A line of the list: a step of a script, or a row that no step claims. ``number``: its place on the page."""

    number: int
    run: int
    step: StepResult | None
    turn: Turn | None
    window: RecordingSpan | None = None
    difference_ms: float | None = None

    @property
    def warmup(self) -> bool:
        return self.step is not None and self.step.warmup


@dataclass(slots=True)
class RunsReport:
    """Everything that is measured here, before a page or a comment is made of it. ``worst_ms``: a run's self-check."""

    runs: list[Loaded]
    entries: list[Entry]
    pairs: list[tuple[Loaded, Loaded, Comparison]]
    worst_ms: dict[int, float] = field(default_factory=dict)
    compared: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # what should have been a run
    names: tuple[str, str] = BEFORE_AFTER  # what the two sides of a comparison are called

    @property
    def trusted(self) -> bool:
        """No ledger differs from its recording by more than 20 ms."""
        return all(ms <= UNTRUSTED_MS for ms in self.worst_ms.values())


def collect(
    runs: list[Loaded], on_note: Callable[[str], None] = lambda _: None, *, names: tuple[str, str] = BEFORE_AFTER
) -> RunsReport:
    """Line the turns up and hold every ledger to its recording once more. ``names``: of a comparison's two sides."""
    report = RunsReport(runs, [], pairs(runs), names=names)
    for number, run in enumerate(runs):
        report.notes += [f"{run.name}: {problem}" for problem in run.problems]
        mine = _entries(run, number, len(report.entries))
        report.entries += mine
        _place(run, mine)
        if run.result.worst_difference_ms is not None:
            report.worst_ms[number] = run.result.worst_difference_ms
            report.compared[number] = run.result.compared
        if run.recording is not None:
            on_note(f"{run.name}: holding the ledger to the recording")
            try:
                _self_check(report, run, number, mine)
            except AudioError as error:
                report.notes.append(f"{run.name}: {error}")
                run.recording = None
    return report


def _entries(run: Loaded, number: int, first: int) -> list[Entry]:
    claimed = {id(step.row) for step in run.result.steps if step.row is not None}
    found = [Entry(0, number, step, step.row) for step in run.result.steps]
    found += [Entry(0, number, None, turn) for turn in run.turns if id(turn) not in claimed]
    for place, entry in enumerate(found, first):
        entry.number = place
    return found


def _place(run: Loaded, entries: list[Entry]) -> None:
    """Where on the recording each is; a stretch ends where the next one's sound begins."""
    begin: float | None = None
    for entry in reversed(entries):
        said = None if entry.step is None else entry.step.said_s
        if said is None and entry.turn is not None:
            said = _said(entry.turn)
        if entry.turn is not None:
            entry.window = window_of(entry.turn, said, begin)
        elif said is not None:
            entry.window = RecordingSpan(max(0.0, said[0] - 0.3), said[1] + 3.0)
        begin = begin if said is None else said[0]


def _said(turn: Turn) -> tuple[float, float] | None:
    """Begin and end of the user's sound on the recording, as far as the recorded evidence tells."""
    record, ended = record_of(turn), turn.speech_ended_s
    if record is None or ended is None:
        return None
    before = origin_s(turn, record) - float(record["began_s"])
    return (ended - before, ended) if 0 < before < 120 else None


def _self_check(report: RunsReport, run: Loaded, number: int, entries: list[Entry]) -> None:
    assert run.recording is not None
    begins = [step.said_s[0] for step in run.result.steps if step.said_s is not None]
    with Recording(run.recording) as recording:
        for entry in entries:
            if entry.turn is None or entry.turn.typed or spoken_into(entry.turn, begins):
                continue
            entry.difference_ms = recording.difference_ms(entry.turn)
    seen = [entry.difference_ms for entry in entries if entry.difference_ms is not None]
    if seen:
        report.worst_ms[number] = max(report.worst_ms.get(number, 0.0), *seen)
        report.compared[number] = max(report.compared.get(number, 0), len(seen))
        run.result.worst_difference_ms, run.result.compared = report.worst_ms[number], report.compared[number]


def index(report: RunsReport, title: str) -> dict[str, Any]:
    """What the page always shows."""
    return {
        "title": title,
        "verdict": overall(report),
        "stages": [str(stage) for stage in _STAGES],
        "marks": [str(mark) for mark in Mark],
        "trust_limit_ms": UNTRUSTED_MS,
        "runs": [_run(report, number) for number in range(len(report.runs))],
        "pairs": [_pair(report, *pair) for pair in report.pairs],
        "turns": [_line(report, entry) for entry in report.entries],
        "notes": [*report.missing, *report.notes],
    }


def overall(report: RunsReport) -> dict[str, str]:
    """The verdict on it all: ``tone`` (good, bad, unsure), ``word``, ``text``."""
    tests = [run for run in report.runs if run.kind == "test"]
    slower = [c for _, _, c in report.pairs if c.outcome is VerdictOutcome.REGRESSION]
    failed = [run.name for run in tests if not run.result.passed]
    turns = sum(len(run.counted) for run in report.runs)
    said = f"{turns} turn{'' if turns == 1 else 's'} in {_many(len(report.runs), 'run')}"
    if not report.trusted:
        off = [f"{report.runs[n].name} ({ms:.0f} ms)" for n, ms in report.worst_ms.items() if ms > UNTRUSTED_MS]
        text = (
            f"the ledger and the recording differ by more than {UNTRUSTED_MS:.0f} ms in {', '.join(off[:6])}:"
            " these figures prove nothing"
        )
        text += f"; failed: {', '.join(failed[:6])}" if failed else ""
        return {"tone": "bad", "word": "Not to be trusted", "text": text}
    if slower:
        return {"tone": "bad", "word": "Regression", "text": "; ".join(_reasons(c) for c in slower)}
    if report.missing:
        text = f"{_many(len(report.missing), 'run')} never began (see the notes); {said}"
        text += f"; failed: {', '.join(failed[:6])}" if failed else ""
        return {"tone": "bad", "word": "Failed", "text": text}
    if failed:
        text = f"{len(tests) - len(failed)} of {_many(len(tests), 'script')} passed; not: {', '.join(failed[:6])}"
        return {"tone": "bad", "word": "Failed", "text": text}
    if report.pairs:
        outcomes = {c.outcome for _, _, c in report.pairs}
        if outcomes != {VerdictOutcome.PASSED}:
            word = str(next(iter(sorted(outcomes - {VerdictOutcome.PASSED}))))
            return {
                "tone": "unsure", "word": word[0].upper() + word[1:],
                "text": "; ".join(_reasons(c) for _, _, c in report.pairs if c.outcome is not VerdictOutcome.PASSED),
            }  # fmt: skip
        return {"tone": "good", "word": "Passed", "text": f"not slower than before; {said}"}
    if tests and len(tests) == len(report.runs):
        return {"tone": "good", "word": "Passed", "text": f"all expectations held; {said}"}
    bad = sum(not step.answered or step.failed for run in report.runs for step in run.result.counted)
    if bad:
        return {"tone": "bad", "word": "Measured", "text": f"{said}; {bad} unanswered, failed or cut off"}
    return {"tone": "good", "word": "Measured", "text": f"{said}, all answered"}


def _reasons(comparison: Comparison) -> str:
    """What a comparison says besides the one word."""
    return str(comparison).partition("; ")[2]


def _many(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def label(report: RunsReport, number: int) -> str:
    """A run's name, with its side or its number behind it where several have the same."""
    run = report.runs[number]
    which = [i for i, other in enumerate(report.runs) if other.name == run.name]
    if len(which) < 2:
        return run.name
    ends = {
        id(r): word for before, after, _ in report.pairs for r, word in zip((before, after), report.names, strict=True)
    }
    return f"{run.name} ({ends.get(id(run), which.index(number) + 1)})"


def _run(report: RunsReport, number: int) -> dict[str, Any]:
    run = report.runs[number]
    result, facts = run.result, run.facts
    worst = report.worst_ms.get(number)
    return {
        "name": run.name,
        "label": label(report, number),
        "kind": KINDS[run.kind],
        "guards": result.guards if run.kind == "test" else "",
        "script": result.path.name,
        "target": result.target if run.kind == "test" else "",
        "seed": result.seed,
        "began": facts.get("began"),
        "repeat": facts.get("repeat"),
        "passed": result.passed,
        "judged": run.kind == "test",
        "interrupted": result.interrupted,
        "error": result.error,
        "turns": len(run.counted),
        "cut_offs": sum(turn.cut_off for turn in run.counted),
        "unanswered": result.unanswered,
        "failures": [
            {"step": None if step is None else step.index + 1, "line": None if step is None else step.line, **asdict(c)}
            for step, c in result.failures
        ],
        "whole": [asdict(check) for check in result.whole],
        "figures": {name: asdict(interval) for name, interval in result.intervals.items()},
        "self_check": {
            "worst_ms": worst,
            "turns": report.compared.get(number, 0),
            "trusted": worst is None or worst <= UNTRUSTED_MS,
            "recording": run.recording is not None,
        },
        "budget_ms": run.budget.total_ms,
        "simulated": run.simulated,
        "machine": facts.get("machine") or {},
        "versions": facts.get("versions") or {},
        "settings": _changed(facts.get("config")),
        "notes": result.notes,
        "comparison": None if result.comparison is None else _comparison(result.comparison),
        "wasted": sum(turn.speculation.tokens_wasted for turn in run.counted),
        "requests": sum(turn.speculation.requests for turn in run.counted),
    }


def _changed(config: Any) -> dict[str, Any]:
    """The settings that are not the defaults."""
    if not isinstance(config, Mapping):
        return {}
    usual = public_config(load_config(env={}))
    return {
        f"{section}.{key}": value
        for section, values in config.items()
        if isinstance(values, Mapping)
        for key, value in values.items()
        if value != usual.get(section, {}).get(key)
    }


def _moved(moved: Moved) -> dict[str, Any]:
    return {**asdict(moved), "slower": moved.slower, "faster": moved.faster}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "outcome": str(comparison.outcome),
        "text": str(comparison),
        "total": None if comparison.total is None else _moved(comparison.total),
        "stages": [_moved(moved) for moved in comparison.stages],
        "guilty": None if comparison.guilty is None else comparison.guilty.measure,
        "machine": None if comparison.machine is None else asdict(comparison.machine),
        "notes": list(comparison.notes),
    }


def _pair(report: RunsReport, before: Loaded, after: Loaded, comparison: Comparison) -> dict[str, Any]:
    old, new = (by_item(run.counted).get(TOTAL, {}) for run in (before, after))
    return {
        "before": next(i for i, run in enumerate(report.runs) if run is before),
        "after": next(i for i, run in enumerate(report.runs) if run is after),
        "names": list(report.names) if before.name == after.name else [before.name, after.name],
        **_comparison(comparison),
        "items": [
            {"item": item, "before_ms": _median(old.get(item)), "after_ms": _median(new.get(item)),
             "n": [len(old.get(item, [])), len(new.get(item, []))]}
            for item in dict.fromkeys([*old, *new])
        ],
    }  # fmt: skip


def _median(values: list[float] | None) -> float | None:
    return median(values) if values else None


def _line(report: RunsReport, entry: Entry) -> dict[str, Any]:
    turn, step = entry.turn, entry.step
    run = report.runs[entry.run]
    row: dict[str, Any] = {"run": entry.run, "ok": None if step is None else not step.failed}
    if entry.warmup:
        row["warm"] = True
    row["user"] = _short(turn.user_text if turn is not None and turn.user_text else step.name if step else "")
    if step is not None and step.round > 0:
        row["round"] = step.round
    if turn is None:
        row["kind"] = step.kind if step is not None else ""
        return row
    judged = verdict(turn, run.budget)
    spans = turn.spans_ms
    row |= {"id": turn.id, "agent": _short(turn.agent_text), "v2v": turn.voice_to_voice_ms}
    row["spans"] = [round(spans.get(stage, 0.0), 1) for stage in _STAGES] if spans else []
    row["counts"] = turn.counts_for_latency and not entry.warmup
    flags = {
        "cut off": turn.cut_off, "failed": turn.error is not None, "no answer": not turn.answered,
        "interrupted": turn.interrupted, "reopened": turn.reopened, "gaps": bool(turn.audio_gaps),
        "typed": turn.typed,
    }  # fmt: skip
    if set_ := [name for name, true in flags.items() if true]:
        row["flags"] = set_
    if judged.over:
        row["guilty"] = str(judged.guilty)
    return row


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def by_urgency(report: RunsReport) -> Iterator[Entry]:
    """Whose sound comes first where there is not room for all: what failed, then what was late, then the rest."""

    def rank(entry: Entry) -> tuple[int, int]:
        turn, step = entry.turn, entry.step
        if (step is not None and step.failed) or (turn is not None and turn.cut_off):
            return 0, entry.number
        late = turn is not None and bool(verdict(turn, report.runs[entry.run].budget).over)
        return (1 if late else 2) + 2 * entry.warmup, entry.number

    yield from sorted(report.entries, key=rank)


def link_to(recording: Path, page: Path) -> str | None:
    """The recording's address as seen from the page; None if the two are on different drives."""
    try:
        return quote(Path(os.path.relpath(recording.resolve(), page.resolve().parent)).as_posix())
    except ValueError:
        return None
