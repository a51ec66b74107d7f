from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice import io
from livekit.agents.voice.transcription import TranscriptSynchronizer

from voice_agent.livekit_compat.transcription import by_told_times

RATE = 24_000


class Nowhere(io.AudioOutput):
    def __init__(self) -> None:
        super().__init__(label="nowhere", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=RATE)

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)

    def flush(self) -> None:
        super().flush()

    def clear_buffer(self) -> None:
        pass


@pytest.mark.parametrize("told", [True, False])
async def test_a_reply_is_measured_only_where_the_voice_does_not_tell(told: bool) -> None:
    synchronizer = TranscriptSynchronizer(next_in_chain_audio=Nowhere(), next_in_chain_text=None)
    if told:
        session = SimpleNamespace(room_io=SimpleNamespace(_tr_synchronizer=synchronizer))
        by_told_times(cast("AgentSession[Any]", session))
    await synchronizer.barrier()
    reply = synchronizer._impl  # the first one
    pcm = (8000 * np.sin(np.arange(3 * RATE) / 20)).astype(np.int16)
    reply.push_audio(rtc.AudioFrame(pcm.tobytes(), RATE, 1, len(pcm)))
    reply.end_audio_input()
    for _ in range(100):
        if reply._audio_data.estimated_rate.timestamps:
            break
        await asyncio.sleep(0.01)
    assert bool(reply._audio_data.estimated_rate.timestamps) is not told
    await asyncio.wait_for(synchronizer.aclose(), 5)


def test_a_session_without_a_room_stays_as_it_is() -> None:
    by_told_times(cast("AgentSession[Any]", SimpleNamespace(room_io=SimpleNamespace())))
