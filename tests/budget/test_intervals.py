"""Intervals: they cover what they promise, narrow with more values, and are absent where there are too few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.budget.intervals import (
    Interval,
    difference,
    estimate_percentile,
    fewest_for,
    percentile_interval,
    runs_needed,
)

ITEMS = ("a", "b", "c", "d")


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(st.floats(50, 2000), min_size=5, max_size=20),
    shift=st.floats(-300, 300),
    seed=st.integers(0, 1000),
)
def test_a_shift_is_found_where_it_is(before: list[float], shift: float, seed: int) -> None:
    step = difference({"a": before}, {"a": [ms + shift for ms in before]}, seed=seed)
    assert step is not None
    assert step.low - 1e-6 <= shift <= step.high + 1e-6
    assert step.estimate == pytest.approx(shift, abs=1e-6)
    again = difference({"a": before}, {"a": [ms + shift for ms in before]}, seed=seed)
    assert again == step  # seeded


def test_intervals_cover_what_they_promise() -> None:
    rng = np.random.default_rng(5)
    hit = 0
    for number in range(200):
        pair = [{item: rng.gamma(4, 20, 6).tolist() for item in ITEMS} for _ in range(2)]
        step = difference(pair[0], pair[1], seed=number)
        assert step is not None
        hit += step.low <= 0 <= step.high
    assert hit >= 184  # 95 % of 200, less two standard deviations


def test_more_values_make_it_narrower_and_the_forecast_is_about_right() -> None:
    rng = np.random.default_rng(7)

    def pair(n: int) -> Interval:
        step = difference({"a": rng.normal(400, 40, n).tolist()}, {"a": rng.normal(407, 40, n).tolist()})
        assert step is not None
        return step

    few, many = pair(20), pair(320)
    assert many.half_width < few.half_width / 2
    assert runs_needed(Interval(5.0, -10.0, 20.0, 20), 15.0) == 25  # 20 * (15/10)^2 = 45
    assert runs_needed(Interval(15.0, 0.0, 30.0, 20), 15.0) is None


def test_percentiles_lie_in_their_intervals() -> None:
    values = np.random.default_rng(0).gamma(3, 100, 50).tolist()
    for q in (50.0, 95.0):
        found = percentile_interval(values, q)
        assert found.low <= found.estimate <= found.high
        assert found.estimate == pytest.approx(float(np.percentile(values, q)))
    alone = percentile_interval([3.0], 50)
    assert (alone.low, alone.high) == (3.0, 3.0)


@pytest.mark.parametrize(("q", "fewest"), [(50.0, 6), (95.0, 59), (99.0, 299)])
def test_too_few_values_have_no_interval(q: float, fewest: int) -> None:
    assert fewest_for(q) == fewest
    values = np.random.default_rng(0).gamma(3, 100, fewest).tolist()
    enough, few = estimate_percentile(values, q), estimate_percentile(values[1:], q)
    assert enough.low is not None
    assert enough.high is not None
    assert enough.low <= enough.estimate <= enough.high
    assert f"[{enough.low:.0f}, {enough.high:.0f}]" in enough.short
    assert (few.low, few.high, few.n) == (None, None, fewest - 1)
    assert few.short == f"{few.estimate:.0f}"


def test_what_is_too_few_would_miss_too_often() -> None:
    """Even the smallest and the largest of 14 values enclose P95 only every second time; those of 59 nearly always."""
    rng = np.random.default_rng(1)
    truth = float(np.log(20))  # P95 of the exponential distribution
    inside = {}
    for n in (14, 59):
        drawn = rng.exponential(size=(40_000, n))
        inside[n] = float(np.mean((drawn.min(axis=1) <= truth) & (truth <= drawn.max(axis=1))))
    assert inside[14] < 0.6
    assert 0.945 < inside[59] < 0.97
