"""The agent's output into a room, without a server."""

from __future__ import annotations

import numpy as np
from livekit import rtc

from voice_agent.room.output import SAMPLE_RATE, ReplayingSource
from voice_agent.room.track import BITRATE, publish_options


async def sound(source: ReplayingSource, ms: int) -> None:
    pcm = np.ones(SAMPLE_RATE * ms // 1000, np.int16)
    await source.capture_frame(rtc.AudioFrame(pcm.tobytes(), SAMPLE_RATE, 1, len(pcm)))


async def test_what_a_pause_discards_is_played_again_once() -> None:
    again: list[float] = []
    paused = [True]
    source = ReplayingSource(SAMPLE_RATE, 1, 200, paused=lambda: paused[0], on_again=again.append)
    await sound(source, 150)
    source.clear_queue()
    assert again == []
    await sound(source, 20)
    assert len(again) == 1
    assert 0 < again[0] <= 0.15
    await sound(source, 20)  # once is enough
    source.clear_queue()
    source.forget()  # an interruption
    await sound(source, 20)
    paused[0] = False
    source.clear_queue()
    await sound(source, 20)
    assert len(again) == 1
    await source.aclose()


def test_a_track_is_a_microphones_at_our_bitrate() -> None:
    options = publish_options()
    assert options.source == rtc.TrackSource.SOURCE_MICROPHONE
    assert options.audio_encoding.max_bitrate == BITRATE
