"""The run directory: everything that was measured (docs/scenarios.md).

RUN/run.json      what was run, where, with what, and the verdict; written first and again at the end
RUN/steps.jsonl   one object a step of the script, written when the step is over
RUN/turns.jsonl   one object a turn that the agent took: docs/ledger.md
RUN/audio.wav     left the user, right the agent
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...budget.intervals import Percentile
from ...budget.ledger import Turn
from ...errors import ConfigError, UsageError
from ..verdict.compare import Comparison
from .expect import Check

SCHEMA = 1
RUN, STEPS, TURNS, AUDIO = "run.json", "steps.jsonl", "turns.jsonl", "audio.wav"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of one step of the script. ``index``: its place in it; ``round``: the repetition (-1: warm-up).

    ``said_s``: begin and end of the user's sound on the recording; ``row``: the turn the agent took it for.
    """

    index: int
    round: int
    kind: str
    name: str
    line: int
    said: str
    said_s: tuple[float, float] | None
    checks: tuple[Check, ...]
    row: Turn | None = None
    answered: bool = False
    wants_answer: bool = True
    stopped_ms: float | None = None
    resumed: bool | None = None
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()

    @property
    def warmup(self) -> bool:
        return self.round < 0

    @property
    def failed(self) -> bool:
        return any(check.ok is False for check in self.checks)


@dataclass(slots=True)
class Result:
    """A script's run so far."""

    name: str
    guards: str
    path: Path
    target: str
    seed: int
    folder: Path
    steps: list[StepResult] = field(default_factory=list)
    whole: list[Check] = field(default_factory=list)
    calibration_ms: list[float] = field(default_factory=list)
    worst_difference_ms: float | None = None
    compared: int = 0
    worst_lag_ms: float = 0.0
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    error: str | None = None
    comparison: Comparison | None = None
    intervals: dict[str, Percentile] = field(default_factory=dict)

    @property
    def counted(self) -> list[StepResult]:
        """Steps that are no warm-up."""
        return [step for step in self.steps if not step.warmup]

    @property
    def turns(self) -> list[Turn]:
        """Rows that count."""
        return [step.row for step in self.counted if step.row is not None]

    @property
    def unanswered(self) -> int:
        return sum(step.wants_answer and not step.answered for step in self.counted)

    @property
    def failures(self) -> list[tuple[StepResult | None, Check]]:
        """The checks that failed: of a step, or (None) of the whole."""
        of_steps: list[tuple[StepResult | None, Check]] = [
            (s, c) for s in self.counted for c in s.checks if c.ok is False
        ]
        return of_steps + [(None, c) for c in self.whole if c.ok is False]

    @property
    def trusted(self) -> bool:
        """The ledger agrees with the recording to 20 ms."""
        return self.worst_difference_ms is None or self.worst_difference_ms <= 20

    @property
    def passed(self) -> bool:
        """All checks held, played to the end, and not slower than the baseline. Inconclusive is no failure."""
        slower = self.comparison is not None and self.comparison.outcome == "regression"
        return not (self.failures or self.interrupted or self.error or slower)


def step_row(step: StepResult) -> dict[str, Any]:
    """The step as a JSON object; ``turn`` is the id of its row in turns.jsonl."""
    row = asdict(replace(step, row=None))
    del row["row"]
    row["warmup"] = step.warmup
    row["turn"] = None if step.row is None else step.row.id
    row["calls"] = [{"name": name, "args": args} for name, args in step.calls]
    return row


def run_row(result: Result, facts: dict[str, Any]) -> dict[str, Any]:
    """run.json: ``facts`` (machine, versions, config, text of the script) and what came out."""
    comparison = result.comparison
    return {
        "schema": SCHEMA,
        "scenario": result.name,
        "guards": result.guards,
        "script": str(result.path.name),
        "target": result.target,
        "seed": result.seed,
        **facts,
        "turns": len(result.turns),
        "unanswered": result.unanswered,
        "cut_offs": sum(turn.cut_off for turn in result.turns),
        "passed": result.passed,
        "interrupted": result.interrupted,
        "error": result.error,
        "whole": [asdict(check) for check in result.whole],
        "failures": [
            {"step": None if step is None else step.index, "round": None if step is None else step.round, **asdict(c)}
            for step, c in result.failures
        ],
        "figures": {name: asdict(interval) for name, interval in result.intervals.items()},
        "self_check": {
            "worst_difference_ms": result.worst_difference_ms,
            "turns": result.compared,
            "trusted": result.trusted,
        },
        "calibration_ms": [round(ms, 2) for ms in result.calibration_ms],
        "notes": result.notes,
        "verdict": None if comparison is None else comparison_row(comparison),
    }


def comparison_row(comparison: Comparison) -> dict[str, Any]:
    """The verdict as a JSON object: ``text`` reads as the terminal shows it."""
    return {**asdict(comparison), "outcome": str(comparison.outcome), "text": str(comparison)}


def write_json(path: Path, data: Any) -> None:
    """Whole or not at all. Raises UsageError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".part")
        beside.write_text(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        beside.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name a file in a folder of yours") from None


def clear(folder: Path) -> None:
    """Make ``folder``; delete what an earlier run left there. Raises UsageError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (RUN, STEPS, TURNS, AUDIO):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be used for a run ({error.strerror}); name another with --runs") from None


def begin(result: Result, facts: dict[str, Any]) -> None:
    """run.json of a run in progress: interrupted, until its end is written (it may be killed before)."""
    write_json(result.folder / RUN, {**run_row(result, facts), "passed": False, "interrupted": True})


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run directory. Raises UsageError if there is none, ConfigError for another file or version."""
    path = folder / RUN
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{folder}: not a run directory (no {RUN} in it); voice-agent test makes them") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ConfigError(f"{path}: not written by this version (schema {SCHEMA} is read)")
    return data


def rewrite_verdict(result: Result) -> None:
    """Add the verdict to run.json of a finished run."""
    path = result.folder / RUN
    data = read_run(result.folder)
    data["verdict"] = None if result.comparison is None else comparison_row(result.comparison)
    data["passed"] = result.passed
    write_json(path, data)
