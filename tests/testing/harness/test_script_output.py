"""The harness's output: each sample of a reply is played once, at its time, and reported as it was played."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from livekit import rtc
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString
from livekit.agents.voice.io import PlaybackFinishedEvent

from voice_agent.audio.samples import Int16
from voice_agent.audio.timeline import AUDIBLE, RECORD_RATE, Timeline
from voice_agent.clock import ManualClock
from voice_agent.testing.harness.script_output import ScriptOutput

RATE = 22_050


def level(n: int, value: int = 1000) -> Int16:
    return np.full(n, value, np.int16)


@dataclass
class Played:
    """A ScriptOutput with everything it reports."""

    timeline: Timeline
    audible: list[float] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    finished: list[PlaybackFinishedEvent] = field(default_factory=list)
    started: int = 0

    def __post_init__(self) -> None:
        self.out = ScriptOutput(
            self.timeline, on_audible=self.audible.append, on_gaps=lambda n, ms: self.gaps.append((n, ms))
        )
        self.out.on("playback_finished", self.finished.append)
        self.out.on("playback_started", lambda _: self._start())

    def _start(self) -> None:
        self.started += 1

    async def play(self, pcm: Int16, rate: int = RATE) -> None:
        await self.out.capture_frame(rtc.AudioFrame(pcm.tobytes(), rate, 1, len(pcm)))

    def later(self, seconds: float) -> None:
        clock = self.timeline.clock
        assert isinstance(clock, ManualClock)
        clock.advance(seconds)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():  # noqa: ASYNC110 - what is waited for is LiveKit's timer, which sets no event
                await asyncio.sleep(0.001)


@pytest.fixture
def played() -> Played:
    return Played(Timeline(clock=ManualClock(20.0)))


class TestOutput:
    async def test_frames_follow_each_other_without_a_gap(self, played: Played) -> None:
        played.later(1.0)
        for _ in range(5):
            await played.play(level(RATE // 10))
            played.later(0.01)  # faster than they are played
        begin = RECORD_RATE
        assert not played.timeline.agent.read(0, begin).any()
        assert played.timeline.agent.read(begin + 5, begin + RECORD_RATE // 2 - 5).all()
        assert played.timeline.agent.end == pytest.approx(begin + RECORD_RATE // 2, abs=2)
        assert played.out.last_audible_end == pytest.approx(21.5)
        assert (played.out.playing, played.started) == (True, 1)

    async def test_the_first_audible_sample(self, played: Played) -> None:
        played.later(0.5)
        quiet = level(RATE // 10, AUDIBLE)  # just not audible
        await played.play(quiet)
        assert played.audible == []
        loud = level(RATE // 10, -AUDIBLE - 1)
        loud[: RATE // 20] = 0
        await played.play(loud)
        assert played.audible == [pytest.approx(20.5 + 0.1 + 0.05, abs=1e-4)]
        await played.play(level(RATE // 10, 30_000))
        assert len(played.audible) == 1

    async def test_the_loudest_negative_sample_is_audible(self, played: Played) -> None:
        await played.play(level(10, -32768))
        assert played.audible == [pytest.approx(20.0)]

    async def test_the_timeline_has_the_first_audible_sample_where_it_was_reported(self, played: Played) -> None:
        played.later(0.3217)
        pcm = (10_000 * np.sin(np.arange(RATE) * 0.3)).astype(np.int16)
        pcm[:3000] = 0
        await played.play(pcm)
        onset = int(np.flatnonzero(np.abs(played.timeline.agent.read(0, RECORD_RATE * 2).astype(int)) > AUDIBLE)[0])
        assert onset / RECORD_RATE == pytest.approx(played.audible[0] - 20.0, abs=0.001)

    async def test_where_it_ran_dry(self, played: Played) -> None:
        await played.play(level(RATE // 10))
        played.later(0.25)
        await played.play(level(RATE // 10))
        played.later(0.4)
        await played.play(level(RATE // 10))
        played.out.clear_buffer()
        ((count, total_ms),) = played.gaps
        assert count == 2
        assert total_ms == pytest.approx(150 + 300, abs=1)
        track = played.timeline.agent
        assert track.read(round(0.12 * RECORD_RATE), round(0.24 * RECORD_RATE)).max() == 0
        assert track.read(round(0.26 * RECORD_RATE), round(0.34 * RECORD_RATE)).all()

    async def test_no_gaps_no_report_of_gaps(self, played: Played) -> None:
        await played.play(level(RATE // 10))
        await played.play(level(RATE // 10))
        played.later(0.2)
        played.out.flush()
        await played.until(lambda: bool(played.finished))
        assert played.gaps == [(0, 0.0)]

    async def test_played_to_the_end(self, played: Played) -> None:
        await played.play(level(RATE // 50))
        played.out.flush()
        assert played.finished == []
        played.later(0.1)
        event = await played.out.wait_for_playout()
        assert not event.interrupted
        assert event.playback_position == pytest.approx(0.02, abs=1e-4)
        assert not played.out.playing
        assert played.out.last_audible_end == pytest.approx(20.02, abs=1e-4)

    async def test_interrupted(self, played: Played) -> None:
        await played.play(level(RATE))
        played.later(0.4)
        played.out.clear_buffer()
        (event,) = played.finished
        assert event.interrupted
        assert event.playback_position == pytest.approx(0.4)
        assert played.out.last_audible_end == pytest.approx(20.4)
        track = played.timeline.agent
        assert track.end == round(0.4 * RECORD_RATE)
        assert not track.read(track.end, RECORD_RATE).any()

    async def test_interrupted_after_the_last_frame_was_handed_in(self, played: Played) -> None:
        await played.play(level(RATE))
        played.out.flush()
        played.later(0.3)
        played.out.clear_buffer()
        await asyncio.sleep(0)
        assert [e.playback_position for e in played.finished] == [pytest.approx(0.3)]

    async def test_nothing_to_interrupt(self, played: Played) -> None:
        played.out.clear_buffer()
        played.out.flush()
        assert (played.finished, played.gaps) == ([], [])

    async def test_each_segment_has_a_first_audible_sample_and_gaps_of_its_own(self, played: Played) -> None:
        await played.play(level(RATE // 10))
        played.later(0.5)
        await played.play(level(RATE // 10))
        played.out.clear_buffer()
        played.out.flush()  # as LiveKit does when it has stopped handing frames over
        played.later(1.0)
        await played.play(level(RATE // 10))
        played.later(0.05)
        played.out.clear_buffer()
        assert played.audible == [pytest.approx(20.0), pytest.approx(21.5)]
        assert [n for n, _ in played.gaps] == [1, 0]
        assert sum(ms for _, ms in played.gaps) == pytest.approx(400)
        assert played.started == 2
        assert len(played.finished) == 2


class TestPauses:
    async def test_nothing_is_heard_and_then_it_goes_on_at_the_very_sample(self, played: Played) -> None:
        ramp = (np.arange(RECORD_RATE) % 20_000 + 1000).astype(
            np.int16
        )  # 1 s at the timeline's own rate: no resampling
        await played.play(ramp, RECORD_RATE)
        played.later(0.25)
        played.out.pause()
        assert (played.out.paused, played.out.playing) == (True, True)
        assert played.out.last_audible_end == pytest.approx(20.25)
        played.later(0.6)
        assert not played.timeline.agent.read(RECORD_RATE // 4, RECORD_RATE).any()
        played.out.resume()
        heard = played.timeline.agent.read(0, 2 * RECORD_RATE)
        cut, back = RECORD_RATE // 4, round(0.85 * RECORD_RATE)
        assert (heard[:cut] == ramp[:cut]).all()
        assert not heard[cut:back].any()
        assert (heard[back : back + len(ramp) - cut] == ramp[cut:]).all()
        assert played.out.last_audible_end == pytest.approx(21.6)
        assert [t for pause in played.out.pauses for t in pause] == pytest.approx([20.25, 20.85])

    async def test_the_end_waits_and_the_position_is_what_was_heard(self, played: Played) -> None:
        await played.play(level(RATE // 2))
        played.out.flush()
        played.later(0.2)
        played.out.pause()
        played.later(5.0)
        await asyncio.sleep(0.01)
        assert played.finished == []
        played.out.resume()
        played.later(0.3)
        event = await played.out.wait_for_playout()
        assert not event.interrupted
        assert event.playback_position == pytest.approx(0.5, abs=1e-4)

    async def test_cleared_while_paused(self, played: Played) -> None:
        await played.play(level(RATE))
        played.later(0.3)
        played.out.pause()
        played.later(2.0)
        played.out.clear_buffer()
        (event,) = played.finished
        assert event.interrupted
        assert event.playback_position == pytest.approx(0.3)
        played.out.resume()
        assert played.timeline.agent.end == round(0.3 * RECORD_RATE)

    async def test_what_is_handed_in_meanwhile_is_heard_afterwards(self, played: Played) -> None:
        played.out.pause()
        await played.play(level(RATE // 10))
        await played.play(level(RATE // 10))
        played.later(1.0)
        assert (played.audible, played.started, played.timeline.agent.end) == ([], 0, 0)
        played.out.resume()
        assert played.audible == [pytest.approx(21.0)]
        assert played.started == 1
        assert played.timeline.agent.end == pytest.approx(1.2 * RECORD_RATE, abs=2)

    async def test_pausing_or_resuming_twice_is_once(self, played: Played) -> None:
        await played.play(level(RATE))
        played.later(0.1)
        played.out.pause()
        played.later(0.1)
        played.out.pause()
        played.out.resume()
        played.out.resume()
        assert played.out.last_audible_end == pytest.approx(21.1)
        assert len(played.out.pauses) == 1


class TestSegments:
    async def test_back_to_back_each_has_its_own_start_and_end(self, played: Played) -> None:
        await played.play(level(RATE // 50))
        played.out.flush()
        await played.play(level(RATE // 25))
        played.out.flush()
        assert (played.started, len(played.audible)) == (1, 1)
        played.later(0.02)
        await played.until(lambda: len(played.finished) == 1)
        assert played.started == 2
        assert played.audible[1:] == [pytest.approx(20.02, abs=1e-4)]
        played.later(0.04)
        await played.until(lambda: len(played.finished) == 2)
        positions = [e.playback_position for e in played.finished]
        assert positions == [pytest.approx(0.02, abs=1e-4), pytest.approx(0.04, abs=1e-4)]
        assert not any(e.interrupted for e in played.finished)
        assert [n for n, _ in played.gaps] == [0, 0]

    async def test_cleared_both_end_and_of_the_second_nothing_was_heard(self, played: Played) -> None:
        await played.play(level(RATE))
        played.out.flush()
        await played.play(level(RATE))
        played.later(0.25)
        played.out.clear_buffer()
        assert [e.playback_position for e in played.finished] == [pytest.approx(0.25), 0.0]
        assert played.timeline.agent.end == round(0.25 * RECORD_RATE)


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
    async def test_the_text_ends_with_the_last_word_heard(
        self, played: Played, heard_s: float, text: str | None
    ) -> None:
        await played.out.capture_frame(self.spoken())
        played.later(heard_s)
        played.out.clear_buffer()
        (event,) = played.finished
        assert event.synchronized_transcript == (text if text is not None else "Well, that is long.")

    async def test_without_times_there_is_no_transcript(self, played: Played) -> None:
        await played.play(level(RATE))
        played.later(0.5)
        played.out.clear_buffer()
        assert played.finished[0].synchronized_transcript is None
