"""The acoustic end-of-turn model inside the detector."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from voice_agent.turn.acoustic import ACOUSTIC_SAMPLES
from voice_agent.turn_events import EndOfTurn

from .driven_detector import TEXT, FakeAcoustic, MakeCall, SlowModel, until


async def test_it_runs_once_in_a_pause(make: MakeCall) -> None:
    end_of_turn_model, acoustic = SlowModel({TEXT: -2.5}), FakeAcoustic()
    end_of_turn_model.at_once = True
    call = make(end_of_turn_model, acoustic)
    for pause in (1, 2, 3):
        await call.speech()
        await call.silence(0.032)
        call.text()
        await until(lambda: not call.detector.scorer.busy)
        await call.silence(0.32)
        await until(lambda n=pause: len(acoustic.heard) == n)  # type: ignore[misc]
    assert len(acoustic.heard) == 3
    assert EndOfTurn not in call.kinds()


async def test_its_input_is_the_end_of_the_speech_and_the_pause(make: MakeCall) -> None:
    end_of_turn_model, acoustic = SlowModel({TEXT: -2.5}), FakeAcoustic()
    end_of_turn_model.at_once = True
    call = make(end_of_turn_model, acoustic)
    await call.speech(2.56)
    call.text()
    await until(lambda: not call.detector.scorer.busy)
    asked_from = call.windows
    await call.silence(0.32)
    await until(lambda: len(acoustic.heard) == 1)
    (pcm,) = acoustic.heard
    assert pcm.dtype == np.int16
    assert 0 < len(pcm) <= ACOUSTIC_SAMPLES
    assert asked_from < pcm[-1] <= call.windows  # the samples say in which window they came
    assert np.all(np.diff(pcm) >= 0)


async def test_it_does_not_run_where_the_text_leaves_no_doubt(make: MakeCall) -> None:
    end_of_turn_model, acoustic = SlowModel({TEXT: -0.1}), FakeAcoustic()
    end_of_turn_model.at_once = True
    call = make(end_of_turn_model, acoustic)
    await call.speech()
    await call.silence(0.032)
    call.text()
    await until(lambda: not call.detector.scorer.busy)
    await call.silence(0.4)
    assert EndOfTurn in call.kinds()
    assert acoustic.heard == []


async def test_its_probability_is_evidence_of_the_end_of_turn(make: MakeCall) -> None:
    end_of_turn_model, acoustic = SlowModel({TEXT: -2.5}), FakeAcoustic(0.9)
    end_of_turn_model.at_once = True
    call = make(end_of_turn_model, acoustic)
    await call.speech()
    await call.silence(0.032)
    call.text()
    await until(lambda: not call.detector.scorer.busy)
    await call.silence(0.288)
    await until(lambda: call.detector.policy.wait_s() < 0.4)
    await call.silence(0.4)
    commit = call.said[-1]
    assert isinstance(commit, EndOfTurn)
    assert commit.acoustic == pytest.approx(0.9)


async def test_a_probability_for_an_earlier_pause_is_dropped(make: MakeCall) -> None:
    end_of_turn_model, acoustic = SlowModel({TEXT: -2.5}), FakeAcoustic(0.01)
    end_of_turn_model.at_once = True
    acoustic.go = threading.Semaphore(0)
    call = make(end_of_turn_model, acoustic)
    await call.speech()
    await call.silence(0.032)
    call.text()
    await until(lambda: not call.detector.scorer.busy)
    await call.silence(0.256)
    await until(lambda: len(acoustic.heard) == 1)
    await call.speech()
    await call.silence(0.032)
    call.text()
    expected = call.detector.policy.wait_s()
    acoustic.go.release()
    await asyncio.sleep(0.05)
    assert call.detector.policy.wait_s() == expected


async def test_a_model_that_fails_leaves_the_text_to_decide(make: MakeCall) -> None:
    end_of_turn_model, acoustic = SlowModel({TEXT: -2.5}), FakeAcoustic()
    end_of_turn_model.at_once = acoustic.failing = True
    call = make(end_of_turn_model, acoustic)
    await call.speech()
    await call.silence(0.032)
    call.text()
    await until(lambda: not call.detector.scorer.busy)
    await call.silence(1.0)
    commit = call.said[-1]
    assert isinstance(commit, EndOfTurn)
    assert commit.acoustic is None
