from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice import io
from livekit.agents.voice.transcription import TranscriptSynchronizer

from voice_agent.livekit_compat import transcription
from voice_agent.livekit_compat.symbols import Symbol
from voice_agent.livekit_compat.transcription import skip_speaking_rate

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


@pytest.mark.parametrize("skipped", [True, False])
async def test_a_reply_is_measured_unless_that_is_skipped(skipped: bool) -> None:
    synchronizer = TranscriptSynchronizer(next_in_chain_audio=Nowhere(), next_in_chain_text=None)
    if skipped:
        session = SimpleNamespace(room_io=SimpleNamespace(_tr_synchronizer=synchronizer))
        skip_speaking_rate(cast("AgentSession[Any]", session))
    await synchronizer.barrier()
    reply = synchronizer._impl  # the first one
    pcm = (8000 * np.sin(np.arange(3 * RATE) / 20)).astype(np.int16)
    reply.push_audio(rtc.AudioFrame(pcm.tobytes(), RATE, 1, len(pcm)))
    reply.end_audio_input()
    for _ in range(100):
        if reply._audio_data.estimated_rate.timestamps:
            break
        await asyncio.sleep(0.01)
    assert bool(reply._audio_data.estimated_rate.timestamps) is not skipped
    await asyncio.wait_for(synchronizer.aclose(), 5)


def test_a_session_without_transcripts_stays_as_it_is() -> None:
    skip_speaking_rate(cast("AgentSession[Any]", SimpleNamespace(room_io=SimpleNamespace(_tr_synchronizer=None))))


@pytest.mark.parametrize("symbol", transcription.SYMBOLS, ids=str)
def test_a_synchronizer_that_lacks_a_part_is_left_alone(
    symbol: Symbol, without: Callable[[Symbol], None], warnings: Callable[[], list[str]]
) -> None:
    without(symbol)
    for _ in range(2):  # a session of such a release may have none of it
        skip_speaking_rate(cast("AgentSession[Any]", SimpleNamespace()))
    (message,) = warnings()
    assert f"has no {symbol}: the speaking rate of each reply is measured" in message
