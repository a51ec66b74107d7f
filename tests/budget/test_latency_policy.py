from __future__ import annotations

import random

import numpy as np
import pytest

from voice_agent.budget.latency_policy import (
    ENOUGH_REQUESTS,
    VERY_LATE,
    Acknowledger,
    Degrader,
    HedgeBudget,
    LatencyHistory,
    TurnDeadlines,
    few_words_first,
    phrases,
    soonest_of,
)
from voice_agent.budget.path import Stage
from voice_agent.config import DegradationConfig

NOW = 100.0


def paced(*seconds: float) -> LatencyHistory:
    pace = LatencyHistory()
    for s in seconds:
        pace.add(s)
    return pace


# --- pace -------------------------------------------------------------------------------------------------------------


def test_until_enough_is_known_the_start_value_counts_and_nobody_guesses() -> None:
    config = DegradationConfig(hedge_start_ms=350)
    pace = paced(*[0.1] * (ENOUGH_REQUESTS - 1))
    assert pace.hedge_after_s(config) == 0.35
    assert pace.rest_s(0.2) == 0.2
    assert pace.soonest_s() is None
    pace.add(0.1)
    assert pace.hedge_after_s(config) == DegradationConfig().hedge_min_ms / 1000
    assert pace.soonest_s() == pytest.approx(0.1)


def test_the_hedge_point_is_the_quantile_or_what_the_tokens_afford() -> None:
    times = [0.2 + n / 1000 for n in range(200)]
    pace = paced(*random.Random(1).sample(times, 200))
    rich = DegradationConfig(hedge_tokens=1.0, hedge_quantile=0.9)
    assert pace.hedge_after_s(rich) == pytest.approx(float(np.percentile(times, 90)))
    poor = DegradationConfig(hedge_tokens=0.04, hedge_quantile=0.9)
    assert pace.hedge_after_s(poor) == pytest.approx(float(np.percentile(times, 96.6)))


def test_only_the_latest_requests_count() -> None:
    pace = LatencyHistory(kept=20)
    for s in [9.0] * 30 + [0.2] * 20:
        pace.add(s)
    assert len(pace) == 20
    assert pace.quantile_s(1.0) == 0.2


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_a_pace_takes_durations_only(bad: float) -> None:
    with pytest.raises(ValueError, match="duration"):
        LatencyHistory().add(bad)


def test_the_rest_is_that_of_the_requests_that_took_longer() -> None:
    pace = paced(*[0.2] * 18, 3.2, 3.4)
    assert pace.rest_s(0.1) == pytest.approx(0.1)  # most are done at 0.2
    assert pace.rest_s(0.3) == pytest.approx(2.92)  # those that are not are stalls
    mixed = paced(*[0.2] * 15, 0.5, 0.6, 3.2, 3.3, 3.4)
    assert mixed.rest_s(0.3) < 0.9  # some of these come soon: not sure enough for a word
    assert pace.rest_s(5.0) == pytest.approx(5.0)  # longer than any: as long again


def test_of_two_requests_the_sooner_one_counts_and_an_unknown_one_makes_it_unknown() -> None:
    assert soonest_of([2.0, 0.3]) == 0.3
    assert soonest_of([2.0, None]) is None
    assert soonest_of([]) is None


# --- what hedging may cost --------------------------------------------------------------------------------------------


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
    config, draw, pace = DegradationConfig(), random.Random(3), LatencyHistory()
    times = [draw.lognormvariate(np.log(0.17), 0.4) + (3.0 if draw.random() < 0.05 else 0.0) for _ in range(4000)]
    hedged = stalls_missed = 0
    for took in times:
        after = pace.hedge_after_s(config)
        late = took > after
        hedged += late
        stalls_missed += took > 3.0 and not late
        pace.add(min(took, after + 0.17) if late else took)  # what is given up was seen to take so long at least
    assert stalls_missed == 0
    assert 0.05 < hedged / len(times) < 0.08
    assert VERY_LATE * pace.hedge_after_s(config) < 0.7


# --- deadlines and words ----------------------------------------------------------------------------------------------


def test_a_turn_is_at_risk_when_what_is_left_does_not_fit() -> None:
    due = TurnDeadlines(total_s=0.5, llm_s=0.2, voice_s=0.11)
    assert not due.at_risk(10.38, speech_ended_s=10.0, requested_s=9.0)  # the turn's own clock counts
    assert due.at_risk(10.40, speech_ended_s=10.0, requested_s=10.39)
    assert not due.at_risk(10.1, speech_ended_s=None, requested_s=10.0)
    assert due.at_risk(10.21, speech_ended_s=None, requested_s=10.0)
    assert not due.at_risk(99.0, speech_ended_s=None, requested_s=None)


@pytest.mark.parametrize(
    ("written_per_s", "few"),
    [(1780.0, True), (45.0, True), (20.0, False), (4.0, False), (None, False), (0.0, False), (float("inf"), True)],
)
def test_few_words_only_where_the_next_ones_come_in_time(written_per_s: float | None, few: bool) -> None:
    assert few_words_first(3, next_words=12, written_per_s=written_per_s, first_sound_s=0.3) is few


# --- the short word ---------------------------------------------------------------------------------------------------


def test_only_before_a_long_wait_never_in_two_turns_in_a_row() -> None:
    short = Acknowledger(DegradationConfig())
    assert not short.due(1, None)
    assert not short.due(1, 0.9)
    assert short.due(1, 0.95)
    assert short.choose(1, "What is the weather like") in phrases(DegradationConfig().acknowledge_question)
    assert not short.due(1, 5.0)  # nor twice in one turn
    assert not short.due(2, 5.0)
    assert short.due(3, 5.0)


def test_it_fits_what_was_said_and_varies() -> None:
    config = DegradationConfig(acknowledge_question="Q1, Q2", acknowledge_other="A1, A2, A3")
    short = Acknowledger(config)
    said = [short.choose(n, text) for n, text in enumerate(["so where is it", "I am Bob.", "Is it?", "Nice day."])]
    assert said == ["Q1", "A1", "Q2", "A2"]
    only = Acknowledger(DegradationConfig(acknowledge_question="", acknowledge_other="Okay."))
    assert only.choose(1, "Why?") == "Okay."
    assert Acknowledger(DegradationConfig(acknowledge_question="", acknowledge_other=" ,")).choose(1, "Why?") is None


# --- later turns ------------------------------------------------------------------------------------------------------


def turns(d: Degrader, *rows: tuple[float, Stage | None]) -> list[tuple[Stage, int]]:
    steps = [d.turn(ms, 500.0, guilty) for ms, guilty in rows]
    return [(s.stage, s.level) for s in steps if s is not None]


def test_down_after_three_late_of_five_and_back_after_eight_good_ones() -> None:
    d = Degrader(DegradationConfig(), {Stage.LLM: 2})
    late, good, fair = (900.0, Stage.LLM), (250.0, None), (480.0, None)
    assert turns(d, late, good, late, good) == []
    assert turns(d, late) == [(Stage.LLM, 1)]
    assert turns(d, *[good] * 7, fair, *[good] * 7) == []  # just within the budget is no reason to go back
    assert turns(d, good) == [(Stage.LLM, 0)]
    assert turns(d, *[good] * 50) == []


def test_it_does_not_swing_between_two_states() -> None:
    """A stage that is late half of the time with all it has, and never with less: one way down, few ways back."""
    d, draw, steps = Degrader(DegradationConfig(), {Stage.STT: 1}), random.Random(5), 0
    for _ in range(1000):
        late = d.level[Stage.STT] == 0 and draw.random() < 0.5
        steps += bool(turns(d, (700.0, Stage.STT) if late else (450.0, None)))
    assert steps == 1


def test_the_stage_most_often_guilty_gives_way_and_only_as_far_as_it_can() -> None:
    d = Degrader(DegradationConfig(), {Stage.LLM: 1, Stage.STT: 1})
    assert turns(d, (900.0, Stage.LLM), (900.0, Stage.STT), (900.0, Stage.STT)) == [(Stage.STT, 1)]
    assert turns(d, *[(900.0, Stage.STT)] * 10) == []  # it cannot go further
    assert turns(d, *[(900.0, Stage.TTS)] * 10) == []  # nothing can be done for this one


def test_a_step_that_could_not_be_taken_is_tried_again_and_not_taken_back() -> None:
    d = Degrader(DegradationConfig(), {Stage.STT: 1, Stage.LLM: 1})
    assert turns(d, *[(900.0, Stage.LLM)] * 3) == [(Stage.LLM, 1)]
    assert turns(d, *[(900.0, Stage.STT)] * 3) == [(Stage.STT, 1)]
    d.refused(Stage.STT)
    assert turns(d, *[(900.0, Stage.STT)] * 3) == [(Stage.STT, 1)]
    d.refused(Stage.STT)
    assert turns(d, *[(250.0, None)] * 20) == [(Stage.LLM, 0)]
