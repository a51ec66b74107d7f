"""When a turn policy sends preflights, and how long it holds the end of the turn for the reply."""

from __future__ import annotations

import itertools

import pytest

from voice_agent.config import TurnConfig
from voice_agent.turn.preflights import Preflights
from voice_agent.turn.turn_policy import TurnPolicy
from voice_agent.turn_events import EndOfTurn, Preflight, TurnEvent

from .driven_policy import SURE, TEXT, UNFINISHED, DrivenPolicy, W, configured, paused


class TestPreflightBudget:
    def test_texts_that_never_stop_changing(self) -> None:
        call = paused()
        for i in range(20):
            call.text(f"What is the capital of country {i}?", SURE)
        assert len(call.of(Preflight)) == 3
        call.silence(0.6)
        assert call.commit().text == "What is the capital of country 19?"

    def test_early_preflights_have_their_own_budget_and_spacing(self) -> None:
        call = DrivenPolicy(
            configured(max_preflights=10, max_early_preflights=4, early_preflight_spacing_s=0.5)
        ).speech(5)
        for i in range(80):
            call.text(f"What is the capital of country {i}?", SURE).speech(3)
        sent_at = [at for at, d in zip(call.said_at, call.said, strict=True) if isinstance(d, Preflight)]
        assert len(sent_at) == 3  # the fourth is reserved
        assert all(b - a >= 0.5 for a, b in itertools.pairwise(sent_at))
        for _ in range(3):
            call.energy_drop(3).text("What is the capital of country 81?", SURE)
        assert len(call.of(Preflight)) == 4

    def test_the_only_early_preflight_is_not_reserved(self) -> None:
        call = (
            DrivenPolicy(configured(max_early_preflights=1, early_preflight_spacing_s=0.0))
            .speech(5)
            .text(score=SURE)
            .speech(3)
        )
        assert len(call.text(score=SURE).of(Preflight)) == 1

    def test_none_allowed(self) -> None:
        call = (
            DrivenPolicy(configured(max_preflights=0))
            .speech()
            .text(score=SURE)
            .hear(1, 0.1)
            .text(score=SURE)
            .silence(1.0)
        )
        assert not call.of(Preflight)
        assert call.commit().text == TEXT

    def test_an_unfinished_text_gets_its_preflight_shortly_before_its_end(self) -> None:
        call = paused().text("What is the", UNFINISHED).silence(3)
        sent_at = next(at for at, d in zip(call.said_at, call.said, strict=True) if isinstance(d, Preflight))
        committed_at = next(at for at, d in zip(call.said_at, call.said, strict=True) if isinstance(d, EndOfTurn))
        wait = call.commit().wait_s
        assert wait == pytest.approx(1.6)
        assert sent_at - call.speech_ended_s >= wait - 0.3 - 1e-9
        assert sent_at < committed_at


# --- the model's pace -------------------------------------------------------------------------------------------------


def held_until(pace_s: float | None, **settings: float) -> float:
    """Silence at the end of a whole text with a preflight 60 ms into the pause and no reply."""
    policy = TurnPolicy(TurnConfig(**settings))  # type: ignore[arg-type]
    policy.reply_takes_s = pace_s
    for n in range(1, 11):
        policy.window(n * 0.032, 0.9)
    ended = policy.speech_ended_s
    policy.window(ended + 0.032, 0.0)
    policy.text("what time is it", ended, ended + 0.05)
    sent = policy.end_of_turn_score("what time is it", -0.5, ended + 0.06)
    assert any(isinstance(d, Preflight) for d in sent)
    for tick in range(1, 300):
        for decision in policy.advance(ended + 0.06 + tick * 0.01):
            if isinstance(decision, EndOfTurn):
                return round(decision.waited_s, 2)
    raise AssertionError("never committed")


def test_listening_longer_is_free_while_no_reply_can_be_ready() -> None:
    assert held_until(None) == 0.30  # wait_sure_s and hold_for_reply_s
    assert held_until(0.15) == 0.30  # a fast model leaves nothing free
    assert held_until(0.40) == 0.46  # sent at 60 ms, ready 400 ms later at the soonest
    assert held_until(5.0) == 0.88  # and at most hold_for_expected_reply_s longer
    assert held_until(0.40, hold_for_expected_reply_s=0.0) == 0.30


def test_a_reply_that_is_ready_sooner_is_not_held_back() -> None:
    policy = TurnPolicy(TurnConfig())
    policy.reply_takes_s = 0.8
    for n in range(1, 11):
        policy.window(n * 0.032, 0.9)
    ended = policy.speech_ended_s
    policy.window(ended + 0.032, 0.0)
    policy.text("what time is it", ended, ended + 0.05)
    policy.end_of_turn_score("what time is it", -0.5, ended + 0.06)
    assert policy.advance(ended + 0.25) == ()
    assert [type(d) for d in policy.reply_ready("what time is it", ended + 0.26)] == [EndOfTurn]


class TestEnergyDrop:
    """The energy drops some 0.2 s before the VAD sees the end: the time for a preflight."""

    def call(self, text: str = TEXT, covers_s: float = 0.62, **changes: float) -> list[TurnEvent]:
        config = configured(
            score_early_preflight=-0.1, score_energy_drop_preflight=-1.0, energy_drop_final_before_s=0.1, **changes
        )
        policy = TurnPolicy(config)
        said: list[TurnEvent] = []
        for n in range(1, 21):  # loud until 0.64 s
            said += policy.window(n * W, 0.9, W)
        assert policy.loud_until_s == policy.speech_ended_s == pytest.approx(20 * W)
        said += policy.text(text, covers_s, 21 * W)
        said += policy.end_of_turn_score(text, SURE, 21 * W)
        assert not any(isinstance(d, Preflight) for d in said)
        said += policy.window(21 * W, 0.9, W, energy_drop=True)
        assert policy.loud_until_s == pytest.approx(20 * W)
        assert policy.speech_ended_s == pytest.approx(21 * W)
        return said

    def test_a_whole_text_that_covers_all_loud_speech_gets_one(self) -> None:
        assert self.call()[-1] == Preflight(TEXT, early=True)

    def test_a_text_that_lacks_a_loud_word_gets_none(self) -> None:
        assert not any(isinstance(d, Preflight) for d in self.call(covers_s=0.4))

    def test_none_beyond_the_early_preflights_of_a_turn(self) -> None:
        assert not any(isinstance(d, Preflight) for d in self.call(max_early_preflights=0))


class TestCancel:
    def test_one_other_text_cancels_nothing(self) -> None:
        preflights = Preflights(TurnConfig())
        assert preflights.start("forwarded", 1.0, early=True)
        assert not preflights.text_changed("forward")
        assert not preflights.text_changed("forwarded")
        assert not preflights.text_changed("forward")
        assert preflights.fits("forwarded")

    def test_two_in_a_row_do(self) -> None:
        preflights = Preflights(TurnConfig())
        preflights.start("forwarded", 1.0, early=True)
        preflights.reply_ready("forwarded")
        assert not preflights.text_changed("forward")
        assert preflights.text_changed("forward it")
        assert not preflights.reply_is_ready("forwarded")
        assert not preflights.text_changed("forward it")  # there is none left to cancel
