from __future__ import annotations

import asyncio
import dataclasses

import pytest

from voice_agent.turn import RuleEndOfTurnModel
from voice_agent.turn.turn_policy import TurnState
from voice_agent.turn_events import Discard, EndOfTurn, Preflight, Reopen, SpeechStarted

from .driven_detector import CONFIG, TEXT, MakeCall, SlowModel, until


@pytest.mark.parametrize("early", [0, 2])
async def test_without_early_preflights_the_model_scores_in_the_pause(make: MakeCall, early: int) -> None:
    end_of_turn_model = SlowModel({TEXT: -1.5})
    end_of_turn_model.at_once = True
    call = make(end_of_turn_model, config=dataclasses.replace(CONFIG, max_early_preflights=early))
    await call.speech()
    call.text()
    await asyncio.sleep(0.05)
    assert end_of_turn_model.texts == ([TEXT] if early else [])
    await call.silence(0.064)  # no further text comes: that one has heard all
    await until(lambda: bool(end_of_turn_model.texts))
    await until(lambda: call.detector.policy.wait_s() < 0.3)
    await call.silence(0.064)
    assert end_of_turn_model.texts == [TEXT]


async def test_a_turn_from_start_to_commit(make: MakeCall) -> None:
    end_of_turn_model = SlowModel()
    call = make(end_of_turn_model)
    await call.speech()
    await call.silence(0.032)
    call.text()
    end_of_turn_model.go.release()
    await until(lambda: call.detector.policy.wait_s() < 0.3)  # the model has a score
    call.detector.reply_ready(TEXT)
    during = call.detector.in_speech
    await call.silence(0.3)
    assert call.kinds() == [SpeechStarted, Preflight, EndOfTurn]
    assert (during, call.detector.in_speech) == (True, False)
    call.detector.audible()
    assert call.detector.policy.state is TurnState.IDLE


async def test_in_a_pause_the_preflight_does_not_wait_for_the_model_but_the_end_does(make: MakeCall) -> None:
    end_of_turn_model = SlowModel()
    call = make(end_of_turn_model)
    await call.speech()
    await call.silence(0.032)
    call.text()
    assert call.kinds() == [SpeechStarted, Preflight]
    call.detector.reply_ready(TEXT)
    await call.silence(0.4)
    assert EndOfTurn not in call.kinds(), "the rules are not sure of anything"
    end_of_turn_model.go.release()
    await until(lambda: EndOfTurn in call.kinds())


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of...",
        "What is the capital of",
        "What is the.",
        "If you need help.",
        "Had he known better?",
    ],
)
async def test_an_open_text_waits_for_the_model(make: MakeCall, text: str) -> None:
    call = make(SlowModel())
    await call.speech()
    await call.silence(0.032)
    call.text(text)
    assert call.kinds() == [SpeechStarted]


async def test_in_mid_speech_a_preflight_waits_for_the_model(make: MakeCall) -> None:
    end_of_turn_model = SlowModel()
    call = make(end_of_turn_model)
    await call.speech()
    call.text()
    assert call.kinds() == [SpeechStarted]
    assert not call.detector.wants_confirmation
    end_of_turn_model.go.release()
    await until(lambda: Preflight in call.kinds())


async def test_one_text_at_a_time_is_scored_and_the_latest_first(make: MakeCall) -> None:
    end_of_turn_model = SlowModel()
    call = make(end_of_turn_model)
    await call.speech()
    call.text("What")
    await until(lambda: end_of_turn_model.texts == ["What"])
    for text in ("What is", "What is the", "What is the capital"):
        call.text(text)
    end_of_turn_model.go.release()
    await until(lambda: len(end_of_turn_model.texts) == 2)
    end_of_turn_model.go.release()
    await until(lambda: not call.detector.scorer.busy)
    assert end_of_turn_model.texts == ["What", "What is the capital"]
    assert end_of_turn_model.most_at_a_time == 1


async def test_a_text_that_comes_back_is_not_scored_again(make: MakeCall) -> None:
    end_of_turn_model = SlowModel()
    end_of_turn_model.at_once = True
    call = make(end_of_turn_model)
    await call.speech()
    for text in ("What is", "What is the", "what is.", "What is the"):
        call.text(text)
        await until(lambda: not call.detector.scorer.busy)
    assert end_of_turn_model.texts == ["What is", "What is the"]


async def test_a_late_score_does_not_affect_the_present_text(make: MakeCall) -> None:
    end_of_turn_model = SlowModel({"What is": -0.1, "What is the": -9.0})
    call = make(end_of_turn_model)
    await call.speech()
    await call.silence(0.032)
    call.text("What is")
    await until(lambda: end_of_turn_model.texts == ["What is"])
    call.text("What is the")
    end_of_turn_model.go.release()  # the score of the old text: sure, and no reason to end the turn or send a preflight
    await until(lambda: len(end_of_turn_model.texts) == 2)
    assert call.kinds() == [SpeechStarted]
    assert call.detector.policy.wait_s() == pytest.approx(CONFIG.wait_unsure_s)
    end_of_turn_model.go.release()
    await until(lambda: call.detector.policy.wait_s() == pytest.approx(CONFIG.wait_unfinished_s))
    assert call.kinds() == [SpeechStarted]


async def test_a_score_after_the_end_of_the_turn_changes_nothing(make: MakeCall) -> None:
    end_of_turn_model = SlowModel()
    call = make(end_of_turn_model)
    await call.speech()
    call.text()
    await until(lambda: end_of_turn_model.texts == [TEXT])
    await call.silence(CONFIG.wait_unsure_s + 1.0)  # no score came: the wait of an unsure text
    call.detector.audible()
    before = list(call.said)
    assert EndOfTurn in call.kinds()
    end_of_turn_model.go.release()
    await until(lambda: not call.detector.scorer.busy)
    assert call.said == before
    assert call.detector.policy.state is TurnState.IDLE


async def test_a_score_after_the_end_of_the_call_is_dropped(make: MakeCall) -> None:
    end_of_turn_model = SlowModel()
    call = make(end_of_turn_model)
    await call.speech()
    await call.silence(0.032)
    call.text()
    await call.silence(0.3)
    await until(lambda: end_of_turn_model.texts == [TEXT])
    before = list(call.said)
    await call.detector.aclose()
    end_of_turn_model.go.release()
    await asyncio.sleep(0.05)
    assert call.said == before


async def test_a_model_that_fails_is_replaced_by_rules(make: MakeCall) -> None:
    end_of_turn_model = SlowModel()
    end_of_turn_model.failing = end_of_turn_model.at_once = True
    call = make(end_of_turn_model)
    await call.speech()
    await call.silence(0.032)
    call.text()
    await until(lambda: call.detector.policy.wait_s() < 0.3)  # the rules have answered
    await call.silence(0.5)
    commit = call.said[-1]
    assert isinstance(commit, EndOfTurn)
    assert commit.score == RuleEndOfTurnModel().score(TEXT)
    call.detector.audible()
    await call.speech()
    await call.silence(0.032)
    call.text("Who wrote it?")
    await until(lambda: call.kinds()[-1] is Preflight)
    assert end_of_turn_model.texts == [TEXT]  # it is not called a second time


async def test_sound_without_words_and_a_reopened_turn(make: MakeCall) -> None:
    end_of_turn_model = SlowModel()
    end_of_turn_model.at_once = True
    call = make(end_of_turn_model)
    await call.speech(0.1)
    await call.silence(0.032)
    call.text("")
    await call.silence(1.0)
    assert call.kinds() == [SpeechStarted, Discard]
    await call.speech()
    await call.silence(0.032)
    call.text()
    await call.silence(0.8)
    await call.speech()
    assert Reopen(TEXT) in call.said
    await call.silence(0.032)
    call.text("And of Spain?")
    await until(lambda: end_of_turn_model.texts[-1] == f"{TEXT} And of Spain?")  # the whole turn is scored
    assert end_of_turn_model.texts.count("And of Spain?") == 0
