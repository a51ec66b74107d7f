from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString
from livekit.agents.voice.io import PlaybackFinishedEvent

from voice_agent.audio.timeline import AUDIBLE, RECORD_RATE, USER_RATE, Timeline
from voice_agent.clock import ManualClock
from voice_agent.testing.harness.script_io import FRAME, GRID, Echo, ScriptInput, ScriptOutput

Int16 = npt.NDArray[np.int16]
RATE = 22_050


def level(n: int, value: int = 1000) -> Int16:
    return np.full(n, value, np.int16)


async def fed(mic: ScriptInput, frames: int) -> Int16:
    """Let the clock come to ``frames`` more frames, feed once, and give what came out."""
    clock = mic._line.clock
    assert isinstance(clock, ManualClock)
    clock.advance(frames * FRAME / USER_RATE)
    task = asyncio.create_task(mic.feed())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    out = []
    while not mic._frames.empty():
        frame = await anext(mic)
        assert (frame.sample_rate, frame.num_channels, frame.samples_per_channel) == (USER_RATE, 1, FRAME)
        out.append(np.frombuffer(frame.data, np.int16))
    return np.concatenate(out) if out else level(0)


@pytest.fixture
def line() -> Timeline:
    made = Timeline(clock=ManualClock(50.0))
    clock = made.clock
    assert isinstance(clock, ManualClock)
    clock.advance(0.0001)  # so that a frame is due, not due in 1e-17 s
    made.started_at = 50.0
    return made


class TestInput:
    async def test_silence_when_nothing_is_said(self, line: Timeline) -> None:
        mic = ScriptInput(line)
        pcm = await fed(mic, 25)
        assert len(pcm) == 25 * FRAME == mic.position
        assert not pcm.any()
        assert not mic.speaking

    async def test_a_frame_is_handed_out_when_its_last_sample_has_been_spoken(self, line: Timeline) -> None:
        mic = ScriptInput(line)
        clock = line.clock
        assert isinstance(clock, ManualClock)
        clock.advance(0.0095)
        assert len(await fed(mic, 0)) == 0
        clock.advance(0.0005)
        assert len(await fed(mic, 0)) == FRAME

    @pytest.mark.parametrize("before", [0, 1, 3, 7, 50, 317])
    @pytest.mark.parametrize("length", [1, 159, 160, 161, 5000])
    async def test_speech_begins_on_a_window_and_is_where_the_line_has_it(
        self, line: Timeline, before: int, length: int
    ) -> None:
        mic = ScriptInput(line)
        await fed(mic, before)
        speech = (np.arange(length) % 900 + 1).astype(np.int16)
        start = mic.say(speech)
        assert start % GRID == 0
        assert before * FRAME <= start <= before * FRAME + 2 * GRID
        during = mic.speaking
        heard = np.concatenate([np.zeros(before * FRAME, np.int16), await fed(mic, 60)])
        assert (heard[start : start + length] == speech).all()
        assert not heard[:start].any()
        assert not heard[start + length :].any()
        assert (during, mic.speaking) == (True, False)
        assert line.user.end == pytest.approx((start + length) * RECORD_RATE / USER_RATE, abs=1)

    async def test_one_item_at_a_time(self, line: Timeline) -> None:
        mic = ScriptInput(line)
        mic.say(level(1600))
        with pytest.raises(RuntimeError, match="still speaking"):
            mic.say(level(1600))
        await fed(mic, 60)
        assert mic.say(level(1600)) >= 60 * FRAME

    async def test_after_a_stall_nothing_is_missing(self, line: Timeline) -> None:
        mic = ScriptInput(line)
        speech = (np.arange(32_000) % 900 + 1).astype(np.int16)
        start = mic.say(speech)
        pcm = await fed(mic, 250)  # all of it at once
        assert (pcm[start : start + 32_000] == speech).all()
        assert mic.worst_lag_s > 2


@dataclass
class Ear:
    """A ScriptOutput with everything it reports."""

    line: Timeline
    audible: list[float] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    finished: list[PlaybackFinishedEvent] = field(default_factory=list)
    started: int = 0

    def __post_init__(self) -> None:
        self.out = ScriptOutput(
            self.line, on_audible=self.audible.append, on_gaps=lambda n, ms: self.gaps.append((n, ms))
        )
        self.out.on("playback_finished", self.finished.append)
        self.out.on("playback_started", lambda _: self._start())

    def _start(self) -> None:
        self.started += 1

    async def play(self, pcm: Int16, rate: int = RATE) -> None:
        await self.out.capture_frame(rtc.AudioFrame(pcm.tobytes(), rate, 1, len(pcm)))

    def later(self, seconds: float) -> None:
        clock = self.line.clock
        assert isinstance(clock, ManualClock)
        clock.advance(seconds)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():  # noqa: ASYNC110 - what is waited for is LiveKit's timer, which sets no event
                await asyncio.sleep(0.001)


@pytest.fixture
def ear() -> Ear:
    return Ear(Timeline(clock=ManualClock(20.0)))


class TestOutput:
    async def test_frames_follow_each_other_without_a_seam(self, ear: Ear) -> None:
        ear.later(1.0)
        for _ in range(5):
            await ear.play(level(RATE // 10))
            ear.later(0.01)  # faster than they are played
        begin = RECORD_RATE
        assert not ear.line.agent.read(0, begin).any()
        assert ear.line.agent.read(begin + 5, begin + RECORD_RATE // 2 - 5).all()
        assert ear.line.agent.end == pytest.approx(begin + RECORD_RATE // 2, abs=2)
        assert ear.out.last_audible_end == pytest.approx(21.5)
        assert (ear.out.playing, ear.started) == (True, 1)

    async def test_the_first_audible_sample(self, ear: Ear) -> None:
        ear.later(0.5)
        quiet = level(RATE // 10, AUDIBLE)  # just not audible
        await ear.play(quiet)
        assert ear.audible == []
        loud = level(RATE // 10, -AUDIBLE - 1)
        loud[: RATE // 20] = 0
        await ear.play(loud)
        assert ear.audible == [pytest.approx(20.5 + 0.1 + 0.05, abs=1e-4)]
        await ear.play(level(RATE // 10, 30_000))
        assert len(ear.audible) == 1

    async def test_the_loudest_negative_sample_is_audible(self, ear: Ear) -> None:
        await ear.play(level(10, -32768))
        assert ear.audible == [pytest.approx(20.0)]

    async def test_the_line_has_the_first_audible_sample_where_it_was_reported(self, ear: Ear) -> None:
        ear.later(0.3217)
        pcm = (10_000 * np.sin(np.arange(RATE) * 0.3)).astype(np.int16)
        pcm[:3000] = 0
        await ear.play(pcm)
        onset = int(np.flatnonzero(np.abs(ear.line.agent.read(0, RECORD_RATE * 2).astype(int)) > AUDIBLE)[0])
        assert onset / RECORD_RATE == pytest.approx(ear.audible[0] - 20.0, abs=0.001)

    async def test_where_it_ran_dry(self, ear: Ear) -> None:
        await ear.play(level(RATE // 10))
        ear.later(0.25)
        await ear.play(level(RATE // 10))
        ear.later(0.4)
        await ear.play(level(RATE // 10))
        ear.out.clear_buffer()
        ((count, total_ms),) = ear.gaps
        assert count == 2
        assert total_ms == pytest.approx(150 + 300, abs=1)
        track = ear.line.agent
        assert track.read(round(0.12 * RECORD_RATE), round(0.24 * RECORD_RATE)).max() == 0
        assert track.read(round(0.26 * RECORD_RATE), round(0.34 * RECORD_RATE)).all()

    async def test_no_gaps_no_report_of_gaps(self, ear: Ear) -> None:
        await ear.play(level(RATE // 10))
        await ear.play(level(RATE // 10))
        ear.later(0.2)
        ear.out.flush()
        await ear.until(lambda: bool(ear.finished))
        assert ear.gaps == [(0, 0.0)]

    async def test_played_to_the_end(self, ear: Ear) -> None:
        await ear.play(level(RATE // 50))
        ear.out.flush()
        assert ear.finished == []
        ear.later(0.1)
        event = await ear.out.wait_for_playout()
        assert not event.interrupted
        assert event.playback_position == pytest.approx(0.02, abs=1e-4)
        assert not ear.out.playing
        assert ear.out.last_audible_end == pytest.approx(20.02, abs=1e-4)

    async def test_interrupted(self, ear: Ear) -> None:
        await ear.play(level(RATE))
        ear.later(0.4)
        ear.out.clear_buffer()
        (event,) = ear.finished
        assert event.interrupted
        assert event.playback_position == pytest.approx(0.4)
        assert ear.out.last_audible_end == pytest.approx(20.4)
        track = ear.line.agent
        assert track.end == round(0.4 * RECORD_RATE)
        assert not track.read(track.end, RECORD_RATE).any()

    async def test_interrupted_after_the_last_frame_was_handed_in(self, ear: Ear) -> None:
        await ear.play(level(RATE))
        ear.out.flush()
        ear.later(0.3)
        ear.out.clear_buffer()
        await asyncio.sleep(0)
        assert [e.playback_position for e in ear.finished] == [pytest.approx(0.3)]

    async def test_nothing_to_interrupt(self, ear: Ear) -> None:
        ear.out.clear_buffer()
        ear.out.flush()
        assert (ear.finished, ear.gaps) == ([], [])

    async def test_each_segment_has_a_first_audible_sample_and_gaps_of_its_own(self, ear: Ear) -> None:
        await ear.play(level(RATE // 10))
        ear.later(0.5)
        await ear.play(level(RATE // 10))
        ear.out.clear_buffer()
        ear.out.flush()  # as LiveKit does when it has stopped handing frames over
        ear.later(1.0)
        await ear.play(level(RATE // 10))
        ear.later(0.05)
        ear.out.clear_buffer()
        assert ear.audible == [pytest.approx(20.0), pytest.approx(21.5)]
        assert [n for n, _ in ear.gaps] == [1, 0]
        assert sum(ms for _, ms in ear.gaps) == pytest.approx(400)
        assert ear.started == 2
        assert len(ear.finished) == 2


class TestPauses:
    async def test_nothing_is_heard_and_then_it_goes_on_at_the_very_sample(self, ear: Ear) -> None:
        ramp = (np.arange(RECORD_RATE) % 20_000 + 1000).astype(np.int16)  # 1 s at the line's own rate: no resampling
        await ear.play(ramp, RECORD_RATE)
        ear.later(0.25)
        ear.out.pause()
        assert (ear.out.paused, ear.out.playing) == (True, True)
        assert ear.out.last_audible_end == pytest.approx(20.25)
        ear.later(0.6)
        assert not ear.line.agent.read(RECORD_RATE // 4, RECORD_RATE).any()
        ear.out.resume()
        heard = ear.line.agent.read(0, 2 * RECORD_RATE)
        cut, back = RECORD_RATE // 4, round(0.85 * RECORD_RATE)
        assert (heard[:cut] == ramp[:cut]).all()
        assert not heard[cut:back].any()
        assert (heard[back : back + len(ramp) - cut] == ramp[cut:]).all()
        assert ear.out.last_audible_end == pytest.approx(21.6)
        assert [t for pause in ear.out.pauses for t in pause] == pytest.approx([20.25, 20.85])

    async def test_the_end_waits_and_the_position_is_what_was_heard(self, ear: Ear) -> None:
        await ear.play(level(RATE // 2))
        ear.out.flush()
        ear.later(0.2)
        ear.out.pause()
        ear.later(5.0)
        await asyncio.sleep(0.01)
        assert ear.finished == []
        ear.out.resume()
        ear.later(0.3)
        event = await ear.out.wait_for_playout()
        assert not event.interrupted
        assert event.playback_position == pytest.approx(0.5, abs=1e-4)

    async def test_cleared_while_paused(self, ear: Ear) -> None:
        await ear.play(level(RATE))
        ear.later(0.3)
        ear.out.pause()
        ear.later(2.0)
        ear.out.clear_buffer()
        (event,) = ear.finished
        assert event.interrupted
        assert event.playback_position == pytest.approx(0.3)
        ear.out.resume()
        assert ear.line.agent.end == round(0.3 * RECORD_RATE)

    async def test_what_is_handed_in_meanwhile_is_heard_afterwards(self, ear: Ear) -> None:
        ear.out.pause()
        await ear.play(level(RATE // 10))
        await ear.play(level(RATE // 10))
        ear.later(1.0)
        assert (ear.audible, ear.started, ear.line.agent.end) == ([], 0, 0)
        ear.out.resume()
        assert ear.audible == [pytest.approx(21.0)]
        assert ear.started == 1
        assert ear.line.agent.end == pytest.approx(1.2 * RECORD_RATE, abs=2)

    async def test_pausing_or_resuming_twice_is_once(self, ear: Ear) -> None:
        await ear.play(level(RATE))
        ear.later(0.1)
        ear.out.pause()
        ear.later(0.1)
        ear.out.pause()
        ear.out.resume()
        ear.out.resume()
        assert ear.out.last_audible_end == pytest.approx(21.1)
        assert len(ear.out.pauses) == 1


class TestSegments:
    async def test_back_to_back_each_has_its_own_start_and_end(self, ear: Ear) -> None:
        await ear.play(level(RATE // 50))
        ear.out.flush()
        await ear.play(level(RATE // 25))
        ear.out.flush()
        assert (ear.started, len(ear.audible)) == (1, 1)
        ear.later(0.02)
        await ear.until(lambda: len(ear.finished) == 1)
        assert ear.started == 2
        assert ear.audible[1:] == [pytest.approx(20.02, abs=1e-4)]
        ear.later(0.04)
        await ear.until(lambda: len(ear.finished) == 2)
        positions = [e.playback_position for e in ear.finished]
        assert positions == [pytest.approx(0.02, abs=1e-4), pytest.approx(0.04, abs=1e-4)]
        assert not any(e.interrupted for e in ear.finished)
        assert [n for n, _ in ear.gaps] == [0, 0]

    async def test_cleared_both_end_and_of_the_second_nothing_was_heard(self, ear: Ear) -> None:
        await ear.play(level(RATE))
        ear.out.flush()
        await ear.play(level(RATE))
        ear.later(0.25)
        ear.out.clear_buffer()
        assert [e.playback_position for e in ear.finished] == [pytest.approx(0.25), 0.0]
        assert ear.line.agent.end == round(0.25 * RECORD_RATE)


class TestHeardWords:
    @staticmethod
    def spoken() -> rtc.AudioFrame:
        frame = rtc.AudioFrame(level(RATE).tobytes(), RATE, 1, RATE)
        words = [("Well, ", 0.0, 0.3), ("that ", 0.3, 0.5), ("is ", 0.5, 0.6), ("long.", 0.6, 1.0)]
        frame.userdata[USERDATA_TIMED_TRANSCRIPT] = [TimedString(t, start_time=a, end_time=b) for t, a, b in words]
        return frame

    @pytest.mark.parametrize(
        ("heard_s", "text"), [(0.1, ""), (0.2, "Well,"), (0.41, "Well, that"), (0.59, "Well, that is"), (0.9, None)]
    )
    async def test_the_text_ends_with_the_last_word_heard(self, ear: Ear, heard_s: float, text: str | None) -> None:
        await ear.out.capture_frame(self.spoken())
        ear.later(heard_s)
        ear.out.clear_buffer()
        (event,) = ear.finished
        assert event.synchronized_transcript == (text if text is not None else "Well, that is long.")

    async def test_without_times_nobody_knows(self, ear: Ear) -> None:
        await ear.play(level(RATE))
        ear.later(0.5)
        ear.out.clear_buffer()
        assert ear.finished[0].synchronized_transcript is None


class TestOverlaps:
    async def test_two_things_said_at_once_are_mixed(self, line: Timeline) -> None:
        mic = ScriptInput(line)
        first = mic.say(level(16_000, 1000))
        second = mic.say(level(1600, 500), at_s=0.3)
        assert (first % GRID, second % GRID) == (0, 0)
        assert 0.3 <= second / USER_RATE < 0.3 + GRID / USER_RATE
        pcm = await fed(mic, 120)
        assert set(pcm[second : second + 1600].tolist()) == {1500}
        assert set(pcm[first:second].tolist()) == {1000}
        assert not mic.speaking

    async def test_too_late_is_as_soon_as_it_can(self, line: Timeline) -> None:
        mic = ScriptInput(line)
        await fed(mic, 100)
        assert mic.say(level(160), at_s=0.2) == (16_000 // GRID + 2) * GRID

    async def test_loud_upon_loud_is_clipped(self, line: Timeline) -> None:
        mic = ScriptInput(line)
        start = mic.say(level(3200, 30_000))
        mic.say(level(3200, 30_000), at_s=0.0)
        pcm = await fed(mic, 60)
        assert pcm.max() == 32767
        assert pcm[start] == 32767


class TestEcho:
    async def test_the_agent_is_heard_later_and_softer(self, line: Timeline) -> None:
        line.agent.place(0, level(RECORD_RATE, 8000))
        mic = ScriptInput(line, Echo(delay_s=0.08, gain_db=-6.02, cancelled=False))
        pcm = await fed(mic, 60)
        begin = int(np.flatnonzero(np.abs(pcm.astype(int)) > 2000)[0])
        assert begin / USER_RATE == pytest.approx(0.08, abs=0.02)
        assert np.median(pcm[begin + 800 :]) == pytest.approx(4000, rel=0.02)
        assert line.user.end == 0  # the recording's left channel is what the user said

    @pytest.mark.parametrize("delay_s", [0.0, -1.0, 9.0])
    def test_no_echo_before_its_sound(self, delay_s: float) -> None:
        with pytest.raises(ValueError, match="late"):
            Echo(delay_s=delay_s)
