"""Bootstrap intervals for latencies: no assumption about their distribution. Pure, seeded, vectorised.

Latencies on a shared machine are right-skewed and not normal. Every interval here comes from resampling (Efron and
Tibshirani, *An Introduction to the Bootstrap*, 1993) by the percentile method, with deviations widened by
sqrt(n/(n-1)) because a small sample underestimates the spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .stats import percentile

DRAWS = 2000
CONFIDENCE = 0.95
ENOUGH = 4  # values of one item that are needed to resample within the item

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval. ``n``: the number of values (for a difference, of the smaller side)."""

    estimate: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.estimate:+.0f} ms [{self.low:+.0f}, {self.high:+.0f}]"

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile of ``n`` values, in ms, with its 95 % interval; ``low`` and ``high`` are None if ``n`` is too
    small."""

    estimate: float
    low: float | None
    high: float | None
    n: int

    @property
    def short(self) -> str:
        """For a cell of a table."""
        if self.low is None or self.high is None:
            return f"{self.estimate:.0f}"
        return f"{self.estimate:.0f} [{self.low:.0f}, {self.high:.0f}]"


def fewest_for(q: float) -> int:
    """The least number of values whose minimum and maximum enclose the ``q``-th percentile with 95 % probability.

    With fewer values no interval exists without an assumption about the distribution: six for P50, 59 for P95
    (Conover, *Practical Nonparametric Statistics*, 1999, 3.2: 1 - p^n - (1 - p)^n >= 0.95).
    """
    p, n = q / 100, 1
    while 1 - p**n - (1 - p) ** n < CONFIDENCE:
        n += 1
    return n


def estimate_percentile(values: Sequence[float], q: float, *, seed: int = 0) -> Percentile:
    """As :func:`percentile_interval`, but without an interval if there are fewer values than :func:`fewest_for`."""
    found = percentile_interval(values, q, seed=seed)
    if found.n < fewest_for(q):
        return Percentile(found.estimate, None, None, found.n)
    return Percentile(found.estimate, found.low, found.high, found.n)


def percentile_interval(values: Sequence[float], q: float, *, seed: int = 0) -> Interval:
    """The ``q``-th percentile (0 to 100) of ``values`` with its 95 % interval. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values, no percentile")
    data = np.asarray(values, np.float64)
    estimate = percentile(values, q)
    drawn = _resample(data, np.random.default_rng(seed))
    return _interval(estimate, np.percentile(drawn, q, axis=1), len(data))


def difference(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], *, seed: int = 0
) -> Interval | None:
    """The mean difference ``after`` - ``before`` of the items' medians, with 95 % interval (paired: items in both).

    With at least ``ENOUGH`` values of every item, values are resampled within the item, so the spread between items
    does not widen the interval. With two or three, deviations are drawn from those of all items. With single values,
    whole items are drawn. Returns None if no item is in both, or only one with one value.
    """
    pairs = [
        (np.asarray(before[item], np.float64), np.asarray(after[item], np.float64))
        for item in before
        if item in after and len(before[item]) and len(after[item])
    ]
    n = min(sum(len(b) for b, _ in pairs), sum(len(a) for _, a in pairs)) if pairs else 0
    if n < 2:
        return None
    rng = np.random.default_rng(seed)
    steps = np.array([np.median(a) - np.median(b) for b, a in pairs])
    estimate = float(np.mean(steps))
    if all(min(len(b), len(a)) >= ENOUGH for b, a in pairs):
        drawn = np.mean(
            [np.median(_resample(a, rng), axis=1) - np.median(_resample(b, rng), axis=1) for b, a in pairs], axis=0
        )
        smallest = min(min(len(b), len(a)) for b, a in pairs)
        return _interval(estimate, drawn, n, widen_for=smallest)
    if all(min(len(b), len(a)) >= 2 for b, a in pairs):
        after_all, before_all = ([side[place] for side in pairs] for place in (1, 0))
        drawn = np.mean(_from_residuals(after_all, rng) - _from_residuals(before_all, rng), axis=0)
        return _interval(estimate, drawn, n)
    if len(pairs) < 2:
        (b, a) = pairs[0]
        drawn = np.median(_resample(a, rng), axis=1) - np.median(_resample(b, rng), axis=1)
        return _interval(estimate, drawn, n)
    return _interval(estimate, np.mean(_resample(steps, rng), axis=1), n, widen_for=len(steps))


def runs_needed(difference: Interval, tolerance: float) -> int | None:
    """The number of further values after which the interval excludes ``tolerance``, if estimate and variance stay.

    An interval shrinks with the square root of n. None: the estimate equals the tolerance, or more than 10,000.
    """
    distance = abs(difference.estimate - tolerance)
    if distance <= 0 or difference.n == 0:
        return None
    needed = difference.n * (difference.half_width / distance) ** 2
    more = math.ceil(needed) - difference.n
    return max(1, more) if more <= 10_000 else None


def _resample(data: Values, rng: np.random.Generator) -> Values:
    """``DRAWS`` samples of the same size, with replacement: shape (DRAWS, n)."""
    return data[rng.integers(0, len(data), (DRAWS, len(data)))]


def _from_residuals(items: Sequence[Values], rng: np.random.Generator) -> Values:
    """Resampled medians, shape (items, DRAWS): each item's median plus deviations drawn from those of all items,
    because two or three values of one item say little about its variance."""
    pool = np.concatenate([(v - np.median(v)) * math.sqrt(len(v) / (len(v) - 1)) for v in items])
    return np.stack(
        [np.median(v) + np.median(pool[rng.integers(0, len(pool), (DRAWS, len(v)))], axis=1) for v in items]
    )


def _interval(estimate: float, drawn: Values, n: int, *, widen_for: int | None = None) -> Interval:
    small = widen_for or n
    wider = math.sqrt(small / (small - 1)) if small > 1 else 1.0
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(
        estimate, estimate + (float(low) - estimate) * wider, estimate + (float(high) - estimate) * wider, n
    )
