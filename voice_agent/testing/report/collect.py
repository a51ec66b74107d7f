"""What was measured, lined up: runs, turns, and each ledger held to its recording. Nothing here knows HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...budget.ledger import Turn
from ...budget.turn_verdict import verdict
from ...errors import AudioError, UsageError
from ..scenario.results import StepResult
from ..verdict.compare import Comparison
from .read_runs import Loaded, load, pairs
from .turn_evidence import origin_s, record_of
from .waveform import Recording, RecordingSpan, spoken_into, window_of

UNTRUSTED_MS = 20.0
BEFORE_AFTER = ("before", "after")


@dataclass(slots=True)
class Entry:
    """A line of the list: a step of a script, or a row without a step. ``number``: its place on the page."""

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
    """Everything for a page or a comment. ``worst_ms``: a run's self-check (run number -> worst difference)."""

    runs: list[Loaded]
    entries: list[Entry]
    pairs: list[tuple[Loaded, Loaded, Comparison]]
    worst_ms: dict[int, float] = field(default_factory=dict)
    compared: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # errors of the folders without a run
    names: tuple[str, str] = BEFORE_AFTER  # what the two sides of a comparison are called

    @property
    def trusted(self) -> bool:
        """No ledger differs from its recording by more than 20 ms."""
        return all(ms <= UNTRUSTED_MS for ms in self.worst_ms.values())


def report_on(folders: Sequence[Path], on_note: Callable[[str], None] = lambda _: None) -> RunsReport:
    """The report on the runs in ``folders`` (docs/report.md: which kinds there are).

    A folder without a run is one that never began: the report names it and is no pass. Raises UsageError if none has a
    run, ConfigError for a damaged run.
    """
    runs: list[Loaded] = []
    missing: list[UsageError] = []
    for folder in folders:
        try:
            runs += load([folder])
        except UsageError as error:
            missing.append(error)
    if not runs and missing:
        raise missing[0]
    report = collect(runs, on_note)
    report.missing = [str(error) for error in missing]
    return report


def collect(
    runs: list[Loaded], on_note: Callable[[str], None] = lambda _: None, *, names: tuple[str, str] = BEFORE_AFTER
) -> RunsReport:
    """Line up the turns, and hold every ledger to its recording. ``names``: of a comparison's two sides."""
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
    """Find each turn's span on the recording; it ends where the next turn's sound begins."""
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
    """Begin and end of the user's sound on the recording, by the recorded evidence; None without it."""
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


def label(report: RunsReport, number: int) -> str:
    """A run's name; with its side or its number where several have the same name."""
    run = report.runs[number]
    which = [i for i, other in enumerate(report.runs) if other.name == run.name]
    if len(which) < 2:
        return run.name
    ends = {
        id(r): word for before, after, _ in report.pairs for r, word in zip((before, after), report.names, strict=True)
    }
    return f"{run.name} ({ends.get(id(run), which.index(number) + 1)})"


def by_urgency(report: RunsReport) -> Iterator[Entry]:
    """The order in which sound is put into the page while there is room: failed, then late, then the rest."""

    def rank(entry: Entry) -> tuple[int, int]:
        turn, step = entry.turn, entry.step
        if (step is not None and step.failed) or (turn is not None and turn.cut_off):
            return 0, entry.number
        late = turn is not None and bool(verdict(turn, report.runs[entry.run].budget).over)
        return (1 if late else 2) + 2 * entry.warmup, entry.number

    yield from sorted(report.entries, key=rank)
