"""The recording of both sides."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from tests.microphone.sound_double import LATENCY_S, OpenCall, level
from voice_agent.audio.timeline import RECORD_RATE


async def test_both_sides_are_where_they_were_heard(call: OpenCall, tmp_path: Path) -> None:
    """The user speaks at 0.5 s, the agent at 1 s; the recording has them there, the latency included."""
    path = tmp_path / "both.wav"
    async with call.open(record=path):
        said = np.concatenate([level(8000, 0), level(8000, 5000)])
        await call.system.run(100, said)
        await call.speak(level(24_000, 7000))
        await call.system.run(100)
        assert call.mic.timeline.agent.end > RECORD_RATE
    with wave.open(str(path)) as f:
        pcm = np.frombuffer(f.readframes(f.getnframes()), np.int16).reshape(-1, 2)
        assert f.getframerate() == RECORD_RATE
    edges = [np.flatnonzero(np.abs(side.astype(int)) > 2500)[[0, -1]] / RECORD_RATE for side in pcm.T]
    assert edges[0] == pytest.approx([0.5, 1.0], abs=0.002)
    assert edges[1] == pytest.approx([1.0 + LATENCY_S + 0.01, 1.5 + LATENCY_S + 0.01], abs=0.002)
    assert edges[1][0] == pytest.approx(call.audible[0] - 100.0, abs=0.002)


async def test_no_recording_no_memory(call: OpenCall) -> None:
    async with call.open() as mic:
        await call.system.run(200, level(32_000))
        assert mic.timeline.user.end == mic.timeline.agent.end == 0
