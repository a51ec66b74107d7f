"""The agent's words, emitted when they are heard: on a device and a clock that the test moves."""

from __future__ import annotations

import pytest
from livekit import rtc
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString
from livekit.agents.voice import io

from voice_agent.clock import ManualClock
from voice_agent.talk.events import AgentFinished, AgentWords, Event
from voice_agent.talk.spoken_words import SpokenWords

RATE = 24_000


class Device(io.AudioOutput):
    """Takes everything, plays when the test says so."""

    def __init__(self) -> None:
        super().__init__(label="device", capabilities=io.AudioOutputCapabilities(pause=True), sample_rate=RATE)
        self.calls: list[str] = []

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self.calls.append("frame")

    def flush(self) -> None:
        super().flush()
        self.calls.append("flush")

    def clear_buffer(self) -> None:
        self.calls.append("clear")

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


def frame(seconds: float, *words: tuple[str, float]) -> rtc.AudioFrame:
    made = rtc.AudioFrame.create(RATE, 1, round(seconds * RATE))
    made.userdata[USERDATA_TIMED_TRANSCRIPT] = [TimedString(w, start_time=at, end_time=at + 0.2) for w, at in words]
    return made


@pytest.fixture
def emitted() -> list[Event]:
    return []


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def words(emitted: list[Event], clock: ManualClock, device: Device) -> SpokenWords:
    return SpokenWords(device, emitted.append, clock)


def said(emitted: list[Event]) -> str:
    return "".join(event.text for event in emitted if isinstance(event, AgentWords))


async def test_a_word_is_told_when_it_starts(
    words: SpokenWords, device: Device, clock: ManualClock, emitted: list[Event]
) -> None:
    await words.capture_frame(frame(1.0, ("It ", 0.0), ("is ", 0.3), ("nine.", 0.6)))
    words.flush()
    assert emitted == []  # nothing is heard yet
    device.on_playback_started(created_at=clock.wall())
    assert said(emitted) == "It "
    clock.advance(0.4)
    words.emit_due()  # the timer's call: its own time is the loop's, not this clock's
    assert said(emitted) == "It is "
    device.on_playback_finished(playback_position=1.0, interrupted=False)
    assert said(emitted) == "It is nine."
    assert emitted[-1] == AgentFinished()
    assert device.calls == ["frame", "flush"]


async def test_what_was_cut_off_is_not_told(
    words: SpokenWords, device: Device, clock: ManualClock, emitted: list[Event]
) -> None:
    await words.capture_frame(frame(1.0, ("It ", 0.0), ("is ", 0.3), ("nine.", 0.6)))
    device.on_playback_started(created_at=clock.wall())
    words.clear_buffer()
    device.on_playback_finished(playback_position=0.45, interrupted=True, synchronized_transcript="It is")
    assert said(emitted) == "It is "
    assert emitted[-1] == AgentFinished()
    assert (await words.wait_for_playout()).synchronized_transcript == "It is"
    assert words.last == "It is nine."  # what can be repeated


async def test_a_pause_holds_the_words(
    words: SpokenWords, device: Device, clock: ManualClock, emitted: list[Event]
) -> None:
    await words.capture_frame(frame(1.0, ("It ", 0.0), ("is ", 0.3)))
    device.on_playback_started(created_at=clock.wall())
    clock.advance(0.2)
    words.pause()
    clock.advance(5.0)
    words.emit_due()
    assert said(emitted) == "It "
    words.resume()
    assert said(emitted) == "It "
    clock.advance(0.15)
    words.emit_due()
    assert said(emitted) == "It is "
    assert device.calls == ["frame", "pause", "resume"]


async def test_one_speech_after_the_other(
    words: SpokenWords, device: Device, clock: ManualClock, emitted: list[Event]
) -> None:
    await words.capture_frame(frame(0.5, ("One.", 0.0)))
    words.flush()
    await words.capture_frame(frame(0.5, ("Two.", 0.0)))
    words.flush()
    for _ in range(2):
        device.on_playback_started(created_at=clock.wall())
        device.on_playback_finished(playback_position=0.5, interrupted=False)
    assert emitted == [AgentWords("One."), AgentFinished(), AgentWords("Two."), AgentFinished()]


async def test_words_without_times_come_with_their_sound(
    words: SpokenWords, device: Device, clock: ManualClock, emitted: list[Event]
) -> None:
    first, second = frame(0.5), frame(0.5)
    first.userdata[USERDATA_TIMED_TRANSCRIPT] = ["One "]
    second.userdata[USERDATA_TIMED_TRANSCRIPT] = ["two."]
    await words.capture_frame(first)
    await words.capture_frame(second)
    device.on_playback_started(created_at=clock.wall())
    assert said(emitted) == "One "
    clock.advance(0.6)
    words.emit_due()
    assert said(emitted) == "One two."


async def test_a_voice_without_words_says_nothing(words: SpokenWords, device: Device, emitted: list[Event]) -> None:
    await words.capture_frame(frame(0.5))
    words.flush()
    device.on_playback_started(created_at=100.0)
    device.on_playback_finished(playback_position=0.5, interrupted=False)
    assert emitted == []
    assert words.sample_rate == RATE
    assert words.can_pause
