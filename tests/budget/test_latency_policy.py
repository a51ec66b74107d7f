from __future__ import annotations

import random

import pytest

from voice_agent.budget.latency_policy import Acknowledger, Degrader, TurnDeadlines, few_words_first, phrases
from voice_agent.budget.path import Stage
from voice_agent.config import DegradationConfig


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


# --- acknowledgements -------------------------------------------------------------------------------------------------


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
