from __future__ import annotations

import random

import numpy as np
import pytest

from voice_agent.budget.hedge_policy import ENOUGH_REQUESTS, VERY_LATE, HedgeBudget, LatencyHistory, soonest_of
from voice_agent.config import DegradationConfig

NOW = 100.0


def seen(*seconds: float) -> LatencyHistory:
    history = LatencyHistory()
    for s in seconds:
        history.add(s)
    return history


def test_until_enough_is_known_the_start_value_counts_and_nobody_guesses() -> None:
    config = DegradationConfig(hedge_start_ms=350)
    history = seen(*[0.1] * (ENOUGH_REQUESTS - 1))
    assert history.hedge_after_s(config) == 0.35
    assert history.rest_s(0.2) == 0.2
    assert history.soonest_s() is None
    history.add(0.1)
    assert history.hedge_after_s(config) == DegradationConfig().hedge_min_ms / 1000
    assert history.soonest_s() == pytest.approx(0.1)


def test_the_hedge_point_is_the_quantile_or_what_the_tokens_afford() -> None:
    times = [0.2 + n / 1000 for n in range(200)]
    history = seen(*random.Random(1).sample(times, 200))
    rich = DegradationConfig(hedge_tokens=1.0, hedge_quantile=0.9)
    assert history.hedge_after_s(rich) == pytest.approx(float(np.percentile(times, 90)))
    poor = DegradationConfig(hedge_tokens=0.04, hedge_quantile=0.9)
    assert history.hedge_after_s(poor) == pytest.approx(float(np.percentile(times, 96.6)))


def test_only_the_latest_requests_count() -> None:
    history = LatencyHistory(kept=20)
    for s in [9.0] * 30 + [0.2] * 20:
        history.add(s)
    assert len(history) == 20
    assert history.quantile_s(1.0) == 0.2


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_a_history_takes_durations_only(bad: float) -> None:
    with pytest.raises(ValueError, match="duration"):
        LatencyHistory().add(bad)


def test_the_rest_is_that_of_the_requests_that_took_longer() -> None:
    history = seen(*[0.2] * 18, 3.2, 3.4)
    assert history.rest_s(0.1) == pytest.approx(0.1)  # most are done at 0.2
    assert history.rest_s(0.3) == pytest.approx(2.92)  # those that are not are stalls
    mixed = seen(*[0.2] * 15, 0.5, 0.6, 3.2, 3.3, 3.4)
    assert mixed.rest_s(0.3) < 0.9  # some of these come soon: not sure enough for a word
    assert history.rest_s(5.0) == pytest.approx(5.0)  # longer than any: as long again


def test_of_two_requests_the_sooner_one_counts_and_an_unknown_one_makes_it_unknown() -> None:
    assert soonest_of([2.0, 0.3]) == 0.3
    assert soonest_of([2.0, None]) is None
    assert soonest_of([]) is None


def test_second_requests_stay_within_their_share_whatever_comes() -> None:
    config = DegradationConfig(hedge_tokens=0.08, hedge_per_minute=10_000)
    budget = HedgeBudget(config)
    draw = random.Random(7)
    refused = 0
    for n in range(5000):
        cost = draw.randint(80, 120)
        if draw.random() < 0.3:  # far more often than the budget can pay
            if budget.allows(cost, NOW + n, very_late=draw.random() < 0.5):
                budget.sent(NOW + n)
                budget.lost(cost)
            else:
                refused += 1
        budget.used(cost)
    assert 0.06 < budget.share <= 0.0805
    assert refused > 500


def test_the_last_fifth_is_kept_for_those_that_are_very_late() -> None:
    budget = HedgeBudget(DegradationConfig(hedge_tokens=0.1))
    budget.used(100_000)
    budget.lost(8_150)
    assert not budget.allows(100, NOW)
    assert budget.allows(100, NOW, very_late=True)


def test_so_many_a_minute_at_most() -> None:
    budget = HedgeBudget(DegradationConfig(hedge_per_minute=2, hedge_tokens=1.0))
    for _ in range(2):
        assert budget.allows(10, NOW)
        budget.sent(NOW)
    assert not budget.allows(10, NOW + 59.9)
    assert budget.allows(10, NOW + 60.1)


def test_the_first_turn_can_be_helped_and_no_tokens_means_never() -> None:
    assert HedgeBudget(DegradationConfig()).allows(500, NOW)
    assert not HedgeBudget(DegradationConfig(hedge_tokens=0.0)).allows(1, NOW, very_late=True)


def test_the_planned_hedges_of_a_log_normal_model_leave_room_for_stalls() -> None:
    """5 % stalls of 3 s: less than the budget's 8 % are asked twice, and every stall is among them."""
    config, draw, history = DegradationConfig(), random.Random(3), LatencyHistory()
    times = [draw.lognormvariate(np.log(0.17), 0.4) + (3.0 if draw.random() < 0.05 else 0.0) for _ in range(4000)]
    hedged = stalls_missed = 0
    for took in times:
        after = history.hedge_after_s(config)
        late = took > after
        hedged += late
        stalls_missed += took > 3.0 and not late
        history.add(min(took, after + 0.17) if late else took)  # what is given up was seen to take so long at least
    assert stalls_missed == 0
    assert 0.05 < hedged / len(times) < 0.08
    assert VERY_LATE * history.hedge_after_s(config) < 0.7
