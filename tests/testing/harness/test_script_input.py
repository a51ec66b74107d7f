"""The harness's input: speech, overlaps and echo reach the agent at the sample that the timeline says."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from voice_agent.audio.samples import Int16
from voice_agent.audio.timeline import RECORD_RATE, USER_RATE, Timeline
from voice_agent.clock import ManualClock
from voice_agent.testing.harness.script_input import FRAME, GRID, ScriptInput, SimulatedEcho


def level(n: int, value: int = 1000) -> Int16:
    return np.full(n, value, np.int16)


async def fed(timeline: Timeline, source: ScriptInput, frames: int) -> Int16:
    """Move the clock on by ``frames`` frames, feed once, and return what came out."""
    clock, before = timeline.clock, source.position
    assert isinstance(clock, ManualClock)
    clock.advance(frames * FRAME / USER_RATE)
    task = asyncio.create_task(source.feed())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    out = []
    for _ in range((source.position - before) // FRAME):
        frame = await anext(source)
        assert (frame.sample_rate, frame.num_channels, frame.samples_per_channel) == (USER_RATE, 1, FRAME)
        out.append(np.frombuffer(frame.data, np.int16))
    return np.concatenate(out) if out else level(0)


@pytest.fixture
def timeline() -> Timeline:
    made = Timeline(clock=ManualClock(50.0))
    clock = made.clock
    assert isinstance(clock, ManualClock)
    clock.advance(0.0001)  # so that a frame is due, not due in 1e-17 s
    made.started_at = 50.0
    return made


class TestInput:
    async def test_silence_when_nothing_is_said(self, timeline: Timeline) -> None:
        source = ScriptInput(timeline)
        pcm = await fed(timeline, source, 25)
        assert len(pcm) == 25 * FRAME == source.position
        assert not pcm.any()
        assert not source.speaking

    async def test_a_frame_is_handed_out_when_its_last_sample_has_been_spoken(self, timeline: Timeline) -> None:
        source = ScriptInput(timeline)
        clock = timeline.clock
        assert isinstance(clock, ManualClock)
        clock.advance(0.0095)
        assert len(await fed(timeline, source, 0)) == 0
        clock.advance(0.0005)
        assert len(await fed(timeline, source, 0)) == FRAME

    @pytest.mark.parametrize("before", [0, 1, 3, 7, 50, 317])
    @pytest.mark.parametrize("length", [1, 159, 160, 161, 5000])
    async def test_speech_begins_on_a_window_and_is_where_the_timeline_has_it(
        self, timeline: Timeline, before: int, length: int
    ) -> None:
        source = ScriptInput(timeline)
        await fed(timeline, source, before)
        speech = (np.arange(length) % 900 + 1).astype(np.int16)
        start = source.say(speech)
        assert start % GRID == 0
        assert before * FRAME <= start <= before * FRAME + 2 * GRID
        during = source.speaking
        heard = np.concatenate([np.zeros(before * FRAME, np.int16), await fed(timeline, source, 60)])
        assert (heard[start : start + length] == speech).all()
        assert not heard[:start].any()
        assert not heard[start + length :].any()
        assert (during, source.speaking) == (True, False)
        assert timeline.user.end == pytest.approx((start + length) * RECORD_RATE / USER_RATE, abs=1)

    async def test_one_item_at_a_time(self, timeline: Timeline) -> None:
        source = ScriptInput(timeline)
        source.say(level(1600))
        with pytest.raises(RuntimeError, match="still speaking"):
            source.say(level(1600))
        await fed(timeline, source, 60)
        assert source.say(level(1600)) >= 60 * FRAME

    async def test_after_a_stall_nothing_is_missing(self, timeline: Timeline) -> None:
        source = ScriptInput(timeline)
        speech = (np.arange(32_000) % 900 + 1).astype(np.int16)
        start = source.say(speech)
        pcm = await fed(timeline, source, 250)  # all of it at once
        assert (pcm[start : start + 32_000] == speech).all()
        assert source.worst_lag_s > 2


class TestOverlaps:
    async def test_two_things_said_at_once_are_mixed(self, timeline: Timeline) -> None:
        source = ScriptInput(timeline)
        first = source.say(level(16_000, 1000))
        second = source.say(level(1600, 500), at_s=0.3)
        assert (first % GRID, second % GRID) == (0, 0)
        assert 0.3 <= second / USER_RATE < 0.3 + GRID / USER_RATE
        pcm = await fed(timeline, source, 120)
        assert set(pcm[second : second + 1600].tolist()) == {1500}
        assert set(pcm[first:second].tolist()) == {1000}
        assert not source.speaking

    async def test_too_late_is_as_soon_as_it_can(self, timeline: Timeline) -> None:
        source = ScriptInput(timeline)
        await fed(timeline, source, 100)
        assert source.say(level(160), at_s=0.2) == (16_000 // GRID + 2) * GRID

    async def test_loud_upon_loud_is_clipped(self, timeline: Timeline) -> None:
        source = ScriptInput(timeline)
        start = source.say(level(3200, 30_000))
        source.say(level(3200, 30_000), at_s=0.0)
        pcm = await fed(timeline, source, 60)
        assert pcm.max() == 32767
        assert pcm[start] == 32767


class TestEcho:
    async def test_the_agent_is_heard_later_and_softer(self, timeline: Timeline) -> None:
        timeline.agent.place(0, level(RECORD_RATE, 8000))
        source = ScriptInput(timeline, SimulatedEcho(delay_s=0.08, gain_db=-6.02, cancelled=False))
        pcm = await fed(timeline, source, 60)
        begin = int(np.flatnonzero(np.abs(pcm.astype(int)) > 2000)[0])
        assert begin / USER_RATE == pytest.approx(0.08, abs=0.02)
        assert np.median(pcm[begin + 800 :]) == pytest.approx(4000, rel=0.02)
        assert timeline.user.end == 0  # the recording's left channel is what the user said

    @pytest.mark.parametrize("delay_s", [0.0, -1.0, 9.0])
    def test_no_echo_before_its_sound(self, delay_s: float) -> None:
        with pytest.raises(ValueError, match="late"):
            SimulatedEcho(delay_s=delay_s)
