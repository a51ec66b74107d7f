"""Two runs of the same script: slower, not slower, or not known yet; and which stage it was. Pure, seeded.

A *regression* is called where the interval of a difference lies wholly above the tolerance: of the voice-to-voice
time, or of a stage's own work (work.py). Total below it, and no stage under suspicion: *passed*. Else *inconclusive*,
with the number of turns that would decide. Where the calibration moved as well, the stages that compute are compared at
equal speed, and what the machine or other programs on it explain is not held against the code: *not ours: machine*.
By as much as the calibration may have moved (the upper end of its interval), the tolerance of these stages grows: turns
of one minute resemble each other, and resampling them cannot know that the processor was slow in that minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from ...budget.intervals import Interval, difference, runs_needed
from ...budget.ledger import Stage
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
    machine = _machine(*calibration, seed=seed)
    moved_machine = machine is not None and (machine.low > 1 + MACHINE_MOVED or machine.high < 1 - MACHINE_MOVED)

    wobble = max(_wobble(calibration[0]), _wobble(calibration[1]))
    slack = 0.0 if machine is None else max(0.0, machine.high / (machine.estimate if moved_machine else 1.0) - 1)
    computing = sum(_usual(before, str(stage)) for stage in OF_THE_MACHINE)

    def held(measure: str, now: Samples) -> Moved | None:
        step = difference(before.get(measure, {}), now.get(measure, {}), seed=seed)
        if step is None:
            return None
        usual = _usual(before, measure)
        of_machine = usual if measure in OF_THE_MACHINE else computing if measure == TOTAL else 0.0
        return Moved(measure, usual, step, max(tolerance_ms, tolerance_share * abs(usual)) + slack * of_machine)

    raw_total = held(TOTAL, after)
    notes: list[str] = []
    if cut_offs[1] > cut_offs[0]:
        notes.append(f"cut-offs {cut_offs[0]} before, {cut_offs[1]} now: a latency bought with them is none")
    if raw_total is None or raw_total.difference.n < FEWEST:
        n = 0 if raw_total is None else raw_total.difference.n
        notes.append(f"only {n} turns in both: fewer than {FEWEST} decide nothing")
        return Comparison(
            VerdictOutcome.INCONCLUSIVE,
            raw_total,
            machine=machine,
            more=FEWEST - n,
            cut_offs=cut_offs,
            notes=tuple(notes),
        )
    now: Samples = after
    judged: tuple[Stage, ...] = STAGES
    if moved_machine and machine is not None:
        now = {m: _at_speed(v, machine.estimate) if m in OF_THE_MACHINE else v for m, v in after.items()}
        notes.append(f"the machine took {machine.estimate:.2f} times as long for the same work")
        if not COMPARABLE[0] <= machine.estimate <= COMPARABLE[1]:
            judged = tuple(stage for stage in STAGES if stage not in OF_THE_MACHINE)
            notes.append("too different to compare the stages that compute")
    if wobble > MACHINE_MOVED:
        notes.append(f"the machine was unsteady (its fixed work varied by {wobble:.0%})")
    stages = tuple(moved for stage in judged if (moved := held(str(stage), now)) is not None)
    slower = [moved for moved in stages if moved.slower]
    guilty = max(slower, key=lambda moved: moved.difference.low - moved.tolerance_ms, default=None)
    suspect = max((m for m in stages if m.suspect), key=lambda m: m.difference.estimate - m.tolerance_ms, default=None)
    more: int | None = None
    if guilty is not None:
        outcome = VerdictOutcome.REGRESSION
        if raw_total.settled:
            notes.append("hidden behind the wait: the user hardly hears it yet")
        elif not raw_total.slower:
            notes.append("whether the user hears it is not certain")
    elif raw_total.slower:
        taken = difference(before.get(OTHERS, {}), after.get(OTHERS, {}), seed=seed)
        robbed = (
            taken is not None
            and taken.estimate > raw_total.tolerance_ms
            and raw_total.difference.low - taken.high <= raw_total.tolerance_ms
        )
        outcome = VerdictOutcome.MACHINE if moved_machine or robbed else VerdictOutcome.REGRESSION
        if robbed:
            notes.append(f"other programs took {taken} more of a turn")
        elif not moved_machine:
            notes.append("no single stage moved for certain")
    elif raw_total.settled and wobble <= UNSTEADY and suspect is None:
        outcome = VerdictOutcome.PASSED
    elif moved_machine:
        outcome = VerdictOutcome.MACHINE
    else:
        outcome = VerdictOutcome.INCONCLUSIVE
        if not raw_total.settled:
            more = runs_needed(raw_total.difference, raw_total.tolerance_ms)
        elif suspect is not None:
            more = runs_needed(suspect.difference, suspect.tolerance_ms)
            notes.append(f"{suspect.measure} may be slower: {suspect.difference}")
    if outcome is VerdictOutcome.PASSED and cut_offs[1] > cut_offs[0]:
        outcome = VerdictOutcome.INCONCLUSIVE
    return Comparison(outcome, raw_total, stages, guilty, machine, more, cut_offs, tuple(notes))


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
