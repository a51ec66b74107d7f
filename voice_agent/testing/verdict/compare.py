"""Compare two runs of the same script: slower, not slower, or undecided; and which stage. Pure, seeded.

- *regression*: the interval of a difference lies wholly above its tolerance, either of the voice-to-voice time or of a
  stage's own work (work.py).
- *passed*: the voice-to-voice interval lies below the tolerance, and no stage may be slower.
- *inconclusive*: neither; the comparison names the number of turns that would decide.
- *not ours: machine*: the calibration moved, or other programs took the time.

Where the calibration moved, the stages that compute are compared at equal speed. Their tolerance grows by as much as
the calibration may have moved (the upper end of its interval): turns of one minute resemble each other, and resampling
them cannot know that the processor was slow in that minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from ...budget.intervals import Interval, difference, runs_needed
from ...budget.stats import percentile
from .work import OF_THE_MACHINE, OTHERS, STAGES, TOTAL

Samples = Mapping[str, Mapping[str, Sequence[float]]]
"""Measure -> item -> milliseconds."""

TOLERANCE_MS = 15.0
TOLERANCE_SHARE = 0.05
MACHINE_MOVED = 0.10  # the calibration's median may differ by so much before the machine is suspected
UNSTEADY = 0.25  # a machine that varied by so much in one run cannot clear anybody
COMPARABLE = (0.5, 2.0)  # beyond this, dividing by the machine's speed explains nothing any more
FEWEST = 5


class VerdictOutcome(StrEnum):
    PASSED = "passed"
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    MACHINE = "not ours: machine"


@dataclass(frozen=True, slots=True)
class Moved:
    """One measure's difference. ``tolerance_ms``: what it was held to; ``slower``: its interval lies above that."""

    measure: str
    before_ms: float
    difference: Interval
    tolerance_ms: float

    @property
    def slower(self) -> bool:
        return self.difference.low > self.tolerance_ms

    @property
    def faster(self) -> bool:
        return self.difference.high < -self.tolerance_ms

    @property
    def settled(self) -> bool:
        """Certainly not slower by more than the tolerance."""
        return self.difference.high <= self.tolerance_ms

    @property
    def suspect(self) -> bool:
        """Slower by more than the tolerance as far as can be seen, but not for certain."""
        return not self.slower and self.difference.estimate > self.tolerance_ms


@dataclass(frozen=True, slots=True)
class Comparison:
    """The verdict. ``guilty``: the stage whose work moved most, if any did for certain. ``machine``: how much longer
    the calibration took (1.2: a fifth), with its interval; None if either run has none. ``more``: turns needed."""

    outcome: VerdictOutcome
    total: Moved | None
    stages: tuple[Moved, ...] = ()
    guilty: Moved | None = None
    machine: Interval | None = None
    more: int | None = None
    cut_offs: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = field(default_factory=tuple)

    def __str__(self) -> str:
        parts = [str(self.outcome)]
        if self.total is not None:
            parts.append(f"voice to voice {self.total.difference} (n = {self.total.difference.n})")
        if self.guilty is not None:
            parts.append(f"guilty: {self.guilty.measure} {self.guilty.difference}")
        if self.outcome is VerdictOutcome.INCONCLUSIVE:
            if self.more:
                parts.append(f"{self.more} more turns needed")
            elif self.total is not None and (not self.total.settled or any(moved.suspect for moved in self.stages)):
                parts.append("more turns than are worth it needed")
        return "; ".join([*parts, *self.notes])


def compare(
    before: Samples,
    after: Samples,
    *,
    calibration: tuple[Sequence[float], Sequence[float]] = ((), ()),
    cut_offs: tuple[int, int] = (0, 0),
    tolerance_ms: float = TOLERANCE_MS,
    tolerance_share: float = TOLERANCE_SHARE,
    seed: int = 0,
) -> Comparison:
    """Hold ``after`` to ``before``. ``calibration``: the fixed work's milliseconds beside each; ``cut_offs`` likewise.

    The tolerance of a measure is ``tolerance_ms``, or ``tolerance_share`` of its median before if that is more.
    """
    machine = _MachineChange.of(calibration, seed)
    held = _Held(before, machine, tolerance_ms, tolerance_share, seed)
    total = held.moved(TOTAL, after)
    notes: list[str] = []
    more_cut_offs = cut_offs[1] > cut_offs[0]
    if more_cut_offs:
        notes.append(f"cut-offs {cut_offs[0]} before, {cut_offs[1]} now: a latency bought with them is none")
    if total is None or total.difference.n < FEWEST:
        n = 0 if total is None else total.difference.n
        notes.append(f"only {n} turns in both: fewer than {FEWEST} decide nothing")
        return Comparison(
            VerdictOutcome.INCONCLUSIVE,
            total,
            machine=machine.ratio,
            more=FEWEST - n,
            cut_offs=cut_offs,
            notes=tuple(notes),
        )
    notes += machine.notes()
    stages = held.stages(after)
    slower = [moved for moved in stages if moved.slower]
    guilty = max(slower, key=lambda moved: moved.difference.low - moved.tolerance_ms, default=None)
    others: Interval | None = None
    if total.slower and guilty is None:
        others = difference(before.get(OTHERS, {}), after.get(OTHERS, {}), seed=seed)
    outcome, more, reasons = _outcome(total, stages, guilty, machine, others)
    if outcome is VerdictOutcome.PASSED and more_cut_offs:
        outcome = VerdictOutcome.INCONCLUSIVE
    return Comparison(outcome, total, stages, guilty, machine.ratio, more, cut_offs, (*notes, *reasons))


def _outcome(
    total: Moved, stages: Sequence[Moved], guilty: Moved | None, machine: _MachineChange, others: Interval | None
) -> tuple[VerdictOutcome, int | None, list[str]]:
    """The outcome, the turns still needed, and notes. ``others``: how much more other programs took of a turn."""
    if guilty is not None:
        if total.settled:
            return VerdictOutcome.REGRESSION, None, ["hidden behind the wait: the user hardly hears it yet"]
        return VerdictOutcome.REGRESSION, None, [] if total.slower else ["whether the user hears it is not certain"]
    if total.slower:
        limit = total.tolerance_ms
        if others is not None and others.estimate > limit and total.difference.low - others.high <= limit:
            return VerdictOutcome.MACHINE, None, [f"other programs took {others} more of a turn"]
        if machine.moved:
            return VerdictOutcome.MACHINE, None, []
        return VerdictOutcome.REGRESSION, None, ["no single stage moved for certain"]
    suspect = max((m for m in stages if m.suspect), key=lambda m: m.difference.estimate - m.tolerance_ms, default=None)
    if total.settled and machine.wobble <= UNSTEADY and suspect is None:
        return VerdictOutcome.PASSED, None, []
    if machine.moved:
        return VerdictOutcome.MACHINE, None, []
    if not total.settled:
        return VerdictOutcome.INCONCLUSIVE, runs_needed(total.difference, total.tolerance_ms), []
    if suspect is not None:
        more = runs_needed(suspect.difference, suspect.tolerance_ms)
        return VerdictOutcome.INCONCLUSIVE, more, [f"{suspect.measure} may be slower: {suspect.difference}"]
    return VerdictOutcome.INCONCLUSIVE, None, []


@dataclass(frozen=True, slots=True)
class _MachineChange:
    """What the fixed work says of the machine. ``ratio``: how many times as long it takes now (None: not known).

    ``wobble``: how unsteady the machine was in the worse of the two runs, as a share of the median.
    """

    ratio: Interval | None
    wobble: float

    @classmethod
    def of(cls, calibration: tuple[Sequence[float], Sequence[float]], seed: int) -> _MachineChange:
        return cls(_machine(*calibration, seed=seed), max(map(_wobble, calibration)))

    @property
    def moved(self) -> bool:
        """The machine is certainly slower or faster by more than :data:`MACHINE_MOVED`."""
        return self.ratio is not None and (self.ratio.low > 1 + MACHINE_MOVED or self.ratio.high < 1 - MACHINE_MOVED)

    @property
    def speed(self) -> float:
        """What the stages that compute are divided by: the ratio, if the machine moved."""
        return self.ratio.estimate if self.moved and self.ratio is not None else 1.0

    @property
    def comparable(self) -> bool:
        """Dividing by :attr:`speed` explains something."""
        return COMPARABLE[0] <= self.speed <= COMPARABLE[1]

    @property
    def slack(self) -> float:
        """By how much more the machine may have slowed, as a share: tolerances of what computes grow by it."""
        return 0.0 if self.ratio is None else max(0.0, self.ratio.high / self.speed - 1)

    def notes(self) -> list[str]:
        """What the verdict says of the machine."""
        found = []
        if self.moved:
            found.append(f"the machine took {self.speed:.2f} times as long for the same work")
            if not self.comparable:
                found.append("too different to compare the stages that compute")
        if self.wobble > MACHINE_MOVED:
            found.append(f"the machine was unsteady (its fixed work varied by {self.wobble:.0%})")
        return found


@dataclass(frozen=True, slots=True)
class _Held:
    """What a run is held to: the samples before, and the tolerances."""

    before: Samples
    machine: _MachineChange
    tolerance_ms: float
    tolerance_share: float
    seed: int

    def moved(self, measure: str, now: Samples) -> Moved | None:
        """The measure's difference; None if either run has too little of it."""
        step = difference(self.before.get(measure, {}), now.get(measure, {}), seed=self.seed)
        if step is None:
            return None
        usual = _usual(self.before, measure)
        of_machine = usual if measure in OF_THE_MACHINE else 0.0
        if measure == TOTAL:
            of_machine = sum(_usual(self.before, str(stage)) for stage in OF_THE_MACHINE)
        tolerance = max(self.tolerance_ms, self.tolerance_share * abs(usual)) + self.machine.slack * of_machine
        return Moved(measure, usual, step, tolerance)

    def stages(self, after: Samples) -> tuple[Moved, ...]:
        """The stages' own work, what computes at equal speed; without it where the machines are too different."""
        now, measures = after, [str(stage) for stage in STAGES]
        if self.machine.moved:
            speed = self.machine.speed
            now = {m: _at_speed(v, speed) if m in OF_THE_MACHINE else v for m, v in after.items()}
            if not self.machine.comparable:
                measures = [measure for measure in measures if measure not in OF_THE_MACHINE]
        return tuple(moved for measure in measures if (moved := self.moved(measure, now)) is not None)


def _machine(before: Sequence[float], after: Sequence[float], *, seed: int) -> Interval | None:
    """How many times as long the fixed work takes now: the ratio of medians and its interval (of their logarithms)."""
    if len(before) < FEWEST or len(after) < FEWEST:
        return None
    logs = [{"": np.log(np.asarray(values, np.float64)).tolist()} for values in (before, after)]
    step = difference(logs[0], logs[1], seed=seed)
    if step is None:
        return None
    return Interval(float(np.exp(step.estimate)), float(np.exp(step.low)), float(np.exp(step.high)), step.n)


def _wobble(samples: Sequence[float]) -> float:
    """How unsteady the machine was: the middle half of the fixed work's times, as a share of their median."""
    if len(samples) < FEWEST:
        return 0.0
    low, median, high = (percentile(samples, q) for q in (25, 50, 75))
    return float((high - low) / median)


def _usual(samples: Samples, measure: str) -> float:
    values = [value for of_item in samples.get(measure, {}).values() for value in of_item]
    return float(np.median(values)) if values else 0.0


def _at_speed(of_items: Mapping[str, Sequence[float]], ratio: float) -> dict[str, list[float]]:
    return {item: [value / ratio for value in values] for item, values in of_items.items()}
