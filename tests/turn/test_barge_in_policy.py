"""The barge-in policy on a virtual clock: seconds of audio, no waiting."""

from __future__ import annotations

import dataclasses

import pytest

from voice_agent.config import InterruptionConfig
from voice_agent.turn.barge_in_policy import (
    MOST_WINDOWS,
    BargeInDecision,
    BargeInPolicy,
    BargeInState,
    Drop,
    Pause,
    Resume,
    Yield,
)

WINDOW = 0.032
AGENT = "well that is a long story so let me tell it from the beginning"


class Call:
    """A policy with the agent speaking; notes its decisions."""

    def __init__(self, **settings: float) -> None:
        self.policy = BargeInPolicy(dataclasses.replace(InterruptionConfig(), **settings))  # type: ignore[arg-type]
        self.now = 10.0
        self.said: list[BargeInDecision] = []
        self.policy.agent_began(self.now)

    def sound(
        self, windows: int, probability: float = 0.7, *, in_turn: bool = True, left_s: float | None = None
    ) -> None:
        for _ in range(windows):
            self.now += WINDOW
            self.said += self.policy.window(
                self.now, probability, in_turn=in_turn, agent_text=AGENT, reply_left_s=left_s
            )

    def silence(self, seconds: float, *, in_turn: bool = True) -> None:
        self.sound(round(seconds / WINDOW), 0.0, in_turn=in_turn)

    def heard(self, text: str) -> None:
        self.said += self.policy.text(text, self.now, self.now, agent_text=AGENT)

    def taken(self) -> list[BargeInDecision]:
        said, self.said = self.said, []
        return said


class TestPause:
    def test_two_windows_of_speech_silence_the_agent(self) -> None:
        call = Call()
        call.sound(1)
        assert call.taken() == []
        call.sound(1)
        assert call.taken() == [Pause()]
        call.sound(20)
        assert call.taken() == []

    def test_one_sure_window_is_enough(self) -> None:
        call = Call()
        call.sound(1, 0.95)
        assert call.taken() == [Pause()]

    def test_speech_must_be_in_a_row(self) -> None:
        call = Call()
        for _ in range(10):
            call.sound(1)
            call.sound(1, 0.1)
        assert call.taken() == []

    def test_nothing_happens_while_the_agent_is_silent(self) -> None:
        call = Call()
        call.policy.agent_ended(call.now)
        call.sound(30, 0.99)
        call.heard("What is the capital of France?")
        assert call.taken() == []
        assert not call.policy.agent_active


class TestInterruptions:
    def test_several_words_interrupt_at_once(self) -> None:
        call = Call()
        call.sound(25)
        call.heard("what is the capital")
        assert call.taken() == [Pause(), Yield("what is the capital")]
        assert call.policy.state is BargeInState.SILENT

    def test_a_word_or_two_interrupt_when_transcribed_twice(self) -> None:
        call = Call()
        call.sound(20)
        call.said += call.policy.text("what about", call.now - 0.2, call.now)  # the user goes on
        assert call.taken() == [Pause()]
        call.sound(4)
        call.said += call.policy.text("what about", call.now - 0.1, call.now)
        assert call.taken() == [Yield("what about")]

    @pytest.mark.parametrize("word", ["Stop.", "No!", "wait", "Hold on"])
    def test_a_short_command_is_enough_when_it_is_all(self, word: str) -> None:
        call = Call()
        call.sound(12)
        call.heard(word)
        call.silence(0.4)
        assert [type(d) for d in call.taken()] == [Pause, Yield]

    def test_a_lone_short_word_that_is_no_command_is_not(self) -> None:
        call = Call()
        call.sound(12)
        call.silence(0.1)
        call.heard("I'll.")
        call.silence(0.4)
        assert call.taken() == [Pause(), Resume("a short sound"), Drop("a short sound")]

    def test_the_same_word_said_slowly_is(self) -> None:
        call = Call()
        call.sound(25)
        call.silence(0.1)
        call.heard("Constantinople")
        call.silence(0.4)
        assert [type(d) for d in call.taken()] == [Pause, Yield]

    def test_words_interrupt_without_a_pause_before_them(self) -> None:
        """A false alarm's utterance may still turn into words, before the next pause is due."""
        call = Call(false_interruption_timeout_s=0.5)
        call.sound(30)
        assert call.taken() == [Pause(), Resume("sound without words")]
        call.heard("what is the capital")
        assert call.taken() == [Yield("what is the capital")]


class TestFalseAlarms:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "no words"),
            ("Thank you.", "no words"),  # what Whisper makes of a cough
            ("10. 10. 10. 10. 10.", "no words"),  # more words than there was time for
            ("Mhm.", "back-channel"),
            ("Yeah, right.", "back-channel"),
            ("okay okay", "back-channel"),
            ("let me tell it", "echo"),
        ],
    )
    def test_the_reply_goes_on_and_the_utterance_is_dropped(self, text: str, reason: str) -> None:
        call = Call()
        call.sound(20)
        call.silence(0.1)
        call.heard(text)
        call.silence(0.4)
        assert call.taken() == [Pause(), Resume(reason), Drop(reason)]
        assert call.policy.state is BargeInState.SPEAKING

    def test_it_waits_until_the_sound_has_been_heard(self) -> None:
        call = Call()
        call.sound(10)
        call.silence(1.0)
        assert call.taken() == [Pause()]
        call.heard("")
        assert [type(d) for d in call.taken()] == [Resume, Drop]

    def test_a_sound_too_short_for_an_utterance_has_nothing_to_drop(self) -> None:
        call = Call()
        call.sound(1, 0.95, in_turn=False)
        call.silence(0.4, in_turn=False)
        assert call.taken() == [Pause(), Resume("no words")]

    def test_noise_without_end_does_not_silence_the_agent_for_ever(self) -> None:
        call = Call(false_interruption_timeout_s=1.0)
        call.sound(40)
        assert call.taken() == [Pause(), Resume("sound without words")]

    def test_each_makes_the_next_harder(self) -> None:
        call = Call()
        needed = []
        for _ in range(8):
            n = 0
            while Pause() not in call.said:
                call.sound(1, 0.95)
                n += 1
            needed.append(n)
            call.heard("")
            call.silence(0.5)
            call.taken()
        assert needed[:4] == [1, 4, 6, 8]
        assert needed[-1] == MOST_WINDOWS

    def test_the_next_reply_starts_afresh(self) -> None:
        call = Call()
        call.sound(2)
        call.heard("")
        call.silence(0.5)
        call.policy.agent_ended(call.now)
        call.policy.agent_began(call.now)
        call.taken()
        call.sound(1, 0.95)
        assert call.taken() == [Pause()]


def test_a_yes_over_the_last_word_is_an_answer() -> None:
    call = Call()
    call.sound(10, left_s=0.3)
    call.silence(0.1)
    call.heard("Yes.")
    call.silence(0.4)
    assert [type(d) for d in call.taken()] == [Pause, Yield]


def test_a_yes_in_the_middle_is_not() -> None:
    call = Call()
    call.sound(10, left_s=3.0)
    call.silence(0.1)
    call.heard("Yes.")
    call.silence(0.4)
    assert [type(d) for d in call.taken()] == [Pause, Resume, Drop]


def test_the_end_of_the_reply_ends_the_policys_work() -> None:
    call = Call()
    call.sound(10)
    before = call.policy.agent_active
    call.policy.agent_ended(call.now)
    assert (before, call.policy.agent_active) == (True, False)
    call.heard("what is the capital")
    assert call.taken() == [Pause()]
