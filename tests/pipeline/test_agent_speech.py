"""What the agent says, how far it was played, and what is left. The clock is the test's."""

from __future__ import annotations

import pytest
from livekit import rtc
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString

from voice_agent.clock import ManualClock
from voice_agent.pipeline.agent_speech import KEPT_SPEECHES, AgentSpeech
from voice_agent.turn import AgentSound

RATE = 16_000


def frame(seconds: float, *words: tuple[str, float, float]) -> rtc.AudioFrame:
    samples = round(seconds * RATE)
    made = rtc.AudioFrame(bytes(2 * samples), RATE, 1, samples)
    if words:
        made.userdata[USERDATA_TIMED_TRANSCRIPT] = [
            TimedString(text, start_time=start, end_time=end) for text, start, end in words
        ]
    return made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def speech(clock: ManualClock) -> AgentSpeech:
    """One speech of 3 s, synthesised to its end."""
    made = AgentSpeech(clock)
    add = made.synthesised("s1")
    add(frame(3.0, ("Hello ", 0.0, 0.5), ("there ", 0.5, 1.0), ("friend", 2.0, 3.0)))
    add(None)
    return made


def test_nothing_plays_at_first(speech: AgentSpeech) -> None:
    assert speech.now_playing() == AgentSound()


def test_words_and_the_rest_follow_the_playback(speech: AgentSpeech, clock: ManualClock) -> None:
    speech.playback_started("s1")
    clock.advance(0.6)
    sound = speech.now_playing()
    assert "Hello" in sound.text
    assert "friend" not in sound.text
    assert sound.left_s == pytest.approx(2.4)
    speech.playback_finished()
    assert speech.now_playing() == AgentSound()


def test_a_pause_does_not_count(speech: AgentSpeech, clock: ManualClock) -> None:
    speech.playback_started("s1")
    clock.advance(1.0)
    speech.playback_paused()
    clock.advance(5.0)
    assert speech.now_playing().left_s == pytest.approx(2.0)
    speech.playback_resumed()
    clock.advance(0.5)
    assert speech.now_playing().left_s == pytest.approx(1.5)


def test_what_is_left_is_unknown_until_all_is_synthesised(clock: ManualClock) -> None:
    speech = AgentSpeech(clock)
    add = speech.synthesised("s1")
    add(frame(1.0))
    speech.playback_started("s1")
    assert speech.now_playing().left_s is None
    add(None)
    assert speech.now_playing().left_s == pytest.approx(1.0)


def test_segments_of_a_speech_play_in_order(speech: AgentSpeech) -> None:
    add = speech.synthesised("s1")
    add(frame(7.0))
    add(None)
    speech.playback_started("s1")
    assert speech.now_playing().left_s == pytest.approx(3.0)
    speech.playback_started("s1")
    assert speech.now_playing().left_s == pytest.approx(7.0)
    speech.playback_started("s1")
    assert speech.now_playing() == AgentSound()


def test_only_the_latest_speeches_are_kept(speech: AgentSpeech) -> None:
    for number in range(KEPT_SPEECHES):
        speech.synthesised(f"other {number}")
    speech.playback_started("s1")
    assert speech.now_playing() == AgentSound()
