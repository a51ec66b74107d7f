from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from voice_agent.audio.samples import Int16
from voice_agent.config import TurnConfig
from voice_agent.turn import EndOfTurnModel, RuleEndOfTurnModel, TurnDetector
from voice_agent.turn.detector import ACOUSTIC_SAMPLES, AcousticModel
from voice_agent.turn.policy import State
from voice_agent.turn_events import Discard, EndOfTurn, Preflight, Reopen, SpeechStarted, TurnEvent

WINDOW = 512
W = WINDOW / 16_000
TEXT = "What is the capital of France?"
CONFIG = TurnConfig(
    patience=0.5, start_windows=2, score_sure=-2.0, score_unsure=-3.0, score_unfinished=-4.0,
    score_early_preflight=-1.0,
    wait_sure_s=0.2, wait_unsure_s=0.6, wait_unfinished_s=1.6, hold_for_reply_s=0.1, acoustic_sure=0.8,
    acoustic_unfinished=0.05, usual_pause_factor=0.0, pause_factor=0.0, reopen_s=2.0, no_words_timeout_s=0.7,
    text_final_before_end_s=0.0, preflight_before_end_s=0.3, max_preflights=3, max_early_preflights=2,
    early_preflight_spacing_s=0.0,
    early_preflight_stable_s=0.0,
)  # fmt: skip


class SlowJudge:
    """Answers only when :attr:`go` lets it; keeps the texts in the order of the questions."""

    def __init__(self, scores: dict[str, float] | None = None) -> None:
        self.scores = scores or {}
        self.asked: list[str] = []
        self.go = threading.Semaphore(0)
        self.failing = False
        self.at_once = False
        self.most_at_a_time = 0
        self._inside = 0

    def score(self, text: str) -> float:
        self.asked.append(text)
        self._inside += 1
        self.most_at_a_time = max(self.most_at_a_time, self._inside)
        if not self.at_once:
            assert self.go.acquire(timeout=10)
        self._inside -= 1
        if self.failing:
            raise RuntimeError("the judge has left")
        return self.scores.get(text, -0.5)


class Ear:
    """An acoustic model that keeps what it is asked."""

    def __init__(self, opinion: float = 0.5) -> None:
        self.opinion = opinion
        self.heard: list[Int16] = []
        self.go = threading.Semaphore(1000)
        self.failing = False

    def predict(self, pcm: Int16) -> float:
        self.heard.append(pcm)
        assert self.go.acquire(timeout=10)
        if self.failing:
            raise RuntimeError("deaf")
        return self.opinion


class Call:
    def __init__(
        self, end_of_turn_model: EndOfTurnModel, ear: AcousticModel | None = None, config: TurnConfig = CONFIG
    ) -> None:
        self.detector = TurnDetector(config, end_of_turn_model, ear)
        self.said: list[TurnEvent] = []
        self.detector.bind(self.said.append)
        self.windows = 0

    @property
    def now_s(self) -> float:
        return self.windows * W

    async def hear(self, seconds: float, probability: float) -> None:
        for _ in range(round(seconds / W)):
            self.windows += 1
            pcm = np.full(WINDOW, self.windows % 30_000, np.int16)
            self.detector.window(self.now_s, probability, pcm)
            await asyncio.sleep(0)

    async def speech(self, seconds: float = 0.64) -> None:
        await self.hear(seconds, 0.9)

    async def silence(self, seconds: float) -> None:
        await self.hear(seconds, 0.1)

    def text(self, text: str = TEXT) -> None:
        self.detector.text(text, self.now_s, self.now_s)

    def kinds(self) -> list[type]:
        return [type(d) for d in self.said]


async def until(true: Callable[[], bool]) -> None:
    """Wait for another thread, as long as it takes (a hung test is ended by the bound)."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for happens on another thread
            await asyncio.sleep(0.002)


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Call]]:
    calls: list[Call] = []

    def new(end_of_turn_model: EndOfTurnModel, ear: AcousticModel | None = None, config: TurnConfig = CONFIG) -> Call:
        calls.append(Call(end_of_turn_model, ear, config))
        return calls[-1]

    yield new
    for call in calls:
        await call.detector.aclose()


MakeCall = Callable[..., Call]


@pytest.mark.parametrize("early", [0, 2])
async def test_where_nothing_is_asked_in_mid_speech_the_judge_is_asked_in_the_pause(make: MakeCall, early: int) -> None:
    end_of_turn_model = SlowJudge({TEXT: -1.5})
    end_of_turn_model.at_once = True
    call = make(end_of_turn_model, config=dataclasses.replace(CONFIG, max_early_preflights=early))
    await call.speech()
    call.text()
    await asyncio.sleep(0.05)
    assert end_of_turn_model.asked == ([TEXT] if early else [])
    await call.silence(0.064)  # no further text comes: that one has heard all
    await until(lambda: bool(end_of_turn_model.asked))
    await until(lambda: call.detector.policy.wait_s() < 0.3)
    await call.silence(0.064)
    assert end_of_turn_model.asked == [TEXT]


async def test_a_turn_from_start_to_commit(make: MakeCall) -> None:
    end_of_turn_model = SlowJudge()
    call = make(end_of_turn_model)
    await call.speech()
    await call.silence(0.032)
    call.text()
    end_of_turn_model.go.release()
    await until(lambda: call.detector.policy.wait_s() < 0.3)  # the judge has answered
    call.detector.reply_ready(TEXT)
    during = call.detector.in_speech
    await call.silence(0.3)
    assert call.kinds() == [SpeechStarted, Preflight, EndOfTurn]
    assert (during, call.detector.in_speech) == (True, False)
    call.detector.audible()
    assert call.detector.policy.state is State.IDLE


async def test_in_a_pause_the_request_does_not_wait_for_the_judge_but_the_commit_does(make: MakeCall) -> None:
    end_of_turn_model = SlowJudge()
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
async def test_what_is_open_waits_for_the_judge(make: MakeCall, text: str) -> None:
    call = make(SlowJudge())
    await call.speech()
    await call.silence(0.032)
    call.text(text)
    assert call.kinds() == [SpeechStarted]


async def test_in_mid_speech_it_waits_for_the_judge(make: MakeCall) -> None:
    end_of_turn_model = SlowJudge()
    call = make(end_of_turn_model)
    await call.speech()
    call.text()
    assert call.kinds() == [SpeechStarted]
    assert not call.detector.wants_confirmation
    end_of_turn_model.go.release()
    await until(lambda: Preflight in call.kinds())


async def test_the_judge_is_asked_one_text_at_a_time_and_the_latest_first(make: MakeCall) -> None:
    end_of_turn_model = SlowJudge()
    call = make(end_of_turn_model)
    await call.speech()
    call.text("What")
    await until(lambda: end_of_turn_model.asked == ["What"])
    for text in ("What is", "What is the", "What is the capital"):
        call.text(text)
    end_of_turn_model.go.release()
    await until(lambda: len(end_of_turn_model.asked) == 2)
    end_of_turn_model.go.release()
    await until(lambda: not call.detector._judging)
    assert end_of_turn_model.asked == ["What", "What is the capital"]
    assert end_of_turn_model.most_at_a_time == 1


async def test_a_text_that_comes_back_is_not_judged_again(make: MakeCall) -> None:
    end_of_turn_model = SlowJudge()
    end_of_turn_model.at_once = True
    call = make(end_of_turn_model)
    await call.speech()
    for text in ("What is", "What is the", "what is.", "What is the"):
        call.text(text)
        await until(lambda: not call.detector._judging)
    assert end_of_turn_model.asked == ["What is", "What is the"]


async def test_a_late_opinion_does_no_harm_to_the_present_text(make: MakeCall) -> None:
    end_of_turn_model = SlowJudge({"What is": -0.1, "What is the": -9.0})
    call = make(end_of_turn_model)
    await call.speech()
    await call.silence(0.032)
    call.text("What is")
    await until(lambda: end_of_turn_model.asked == ["What is"])
    call.text("What is the")
    end_of_turn_model.go.release()  # the opinion on the old text: sure, and no reason to commit or ask on the new one
    await until(lambda: len(end_of_turn_model.asked) == 2)
    assert call.kinds() == [SpeechStarted]
    assert call.detector.policy.wait_s() == pytest.approx(CONFIG.wait_unsure_s)
    end_of_turn_model.go.release()
    await until(lambda: call.detector.policy.wait_s() == pytest.approx(CONFIG.wait_unfinished_s))
    assert call.kinds() == [SpeechStarted]


async def test_an_opinion_on_a_turn_that_is_over_says_nothing(make: MakeCall) -> None:
    end_of_turn_model = SlowJudge()
    call = make(end_of_turn_model)
    await call.speech()
    call.text()
    await until(lambda: end_of_turn_model.asked == [TEXT])
    await call.silence(CONFIG.wait_unsure_s + 1.0)  # no opinion came: the wait of the unsure
    call.detector.audible()
    before = list(call.said)
    assert EndOfTurn in call.kinds()
    end_of_turn_model.go.release()
    await until(lambda: not call.detector._judging)
    assert call.said == before
    assert call.detector.policy.state is State.IDLE


async def test_an_opinion_after_the_end_of_the_call_is_dropped(make: MakeCall) -> None:
    end_of_turn_model, ear = SlowJudge(), Ear()
    ear.go = threading.Semaphore(0)
    call = make(end_of_turn_model, ear)
    await call.speech()
    await call.silence(0.032)
    call.text()
    await call.silence(0.3)
    await until(lambda: end_of_turn_model.asked == [TEXT] and len(ear.heard) == 1)
    before = list(call.said)
    await call.detector.aclose()
    end_of_turn_model.go.release()
    ear.go.release()
    await asyncio.sleep(0.05)
    assert call.said == before


async def test_a_judge_that_fails_is_replaced_by_rules(make: MakeCall) -> None:
    end_of_turn_model = SlowJudge()
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
    assert end_of_turn_model.asked == [TEXT]  # it is not asked a second time


class TestAcoustic:
    async def test_asked_once_a_pause(self, make: MakeCall) -> None:
        end_of_turn_model, ear = SlowJudge({TEXT: -2.5}), Ear()
        end_of_turn_model.at_once = True
        call = make(end_of_turn_model, ear)
        for pause in (1, 2, 3):
            await call.speech()
            await call.silence(0.032)
            call.text()
            await until(lambda: not call.detector._judging)
            await call.silence(0.32)
            await until(lambda n=pause: len(ear.heard) == n)  # type: ignore[misc]
        assert len(ear.heard) == 3
        assert EndOfTurn not in call.kinds()

    async def test_it_hears_the_end_of_the_speech_and_the_pause(self, make: MakeCall) -> None:
        end_of_turn_model, ear = SlowJudge({TEXT: -2.5}), Ear()
        end_of_turn_model.at_once = True
        call = make(end_of_turn_model, ear)
        await call.speech(2.56)
        call.text()
        await until(lambda: not call.detector._judging)
        asked_from = call.windows
        await call.silence(0.32)
        await until(lambda: len(ear.heard) == 1)
        (pcm,) = ear.heard
        assert pcm.dtype == np.int16
        assert 0 < len(pcm) <= ACOUSTIC_SAMPLES
        assert asked_from < pcm[-1] <= call.windows  # the samples say in which window they came
        assert np.all(np.diff(pcm) >= 0)

    async def test_not_asked_where_the_text_leaves_no_doubt(self, make: MakeCall) -> None:
        end_of_turn_model, ear = SlowJudge({TEXT: -0.1}), Ear()
        end_of_turn_model.at_once = True
        call = make(end_of_turn_model, ear)
        await call.speech()
        await call.silence(0.032)
        call.text()
        await until(lambda: not call.detector._judging)
        await call.silence(0.4)
        assert EndOfTurn in call.kinds()
        assert ear.heard == []

    async def test_its_opinion_is_evidence_of_the_commit(self, make: MakeCall) -> None:
        end_of_turn_model, ear = SlowJudge({TEXT: -2.5}), Ear(0.9)
        end_of_turn_model.at_once = True
        call = make(end_of_turn_model, ear)
        await call.speech()
        await call.silence(0.032)
        call.text()
        await until(lambda: not call.detector._judging)
        await call.silence(0.288)
        await until(lambda: call.detector.policy.wait_s() < 0.4)
        await call.silence(0.4)
        commit = call.said[-1]
        assert isinstance(commit, EndOfTurn)
        assert commit.acoustic == pytest.approx(0.9)

    async def test_an_opinion_on_a_pause_that_is_over_is_dropped(self, make: MakeCall) -> None:
        end_of_turn_model, ear = SlowJudge({TEXT: -2.5}), Ear(0.01)
        end_of_turn_model.at_once = True
        ear.go = threading.Semaphore(0)
        call = make(end_of_turn_model, ear)
        await call.speech()
        await call.silence(0.032)
        call.text()
        await until(lambda: not call.detector._judging)
        await call.silence(0.256)
        await until(lambda: len(ear.heard) == 1)
        await call.speech()
        await call.silence(0.032)
        call.text()
        expected = call.detector.policy.wait_s()
        ear.go.release()
        await asyncio.sleep(0.05)
        assert call.detector.policy.wait_s() == expected

    async def test_an_ear_that_fails_leaves_the_text_to_decide(self, make: MakeCall) -> None:
        end_of_turn_model, ear = SlowJudge({TEXT: -2.5}), Ear()
        end_of_turn_model.at_once = ear.failing = True
        call = make(end_of_turn_model, ear)
        await call.speech()
        await call.silence(0.032)
        call.text()
        await until(lambda: not call.detector._judging)
        await call.silence(1.0)
        commit = call.said[-1]
        assert isinstance(commit, EndOfTurn)
        assert commit.acoustic is None


async def test_sound_without_words_and_a_reopened_turn(make: MakeCall) -> None:
    end_of_turn_model = SlowJudge()
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
    await until(lambda: end_of_turn_model.asked[-1] == f"{TEXT} And of Spain?")  # judged is the whole turn
    assert end_of_turn_model.asked.count("And of Spain?") == 0
