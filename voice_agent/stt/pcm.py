"""Sample formats of the STT: mono, 16 kHz; int16 in the stream, float32 in [-1, 1) for Whisper."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from livekit import rtc

from ..audio.samples import Int16

SAMPLE_RATE = 16_000

Float32 = npt.NDArray[np.float32]


def mono(frame: rtc.AudioFrame) -> Int16:
    """The frame's samples with its channels averaged."""
    pcm = np.frombuffer(frame.data, np.int16)
    if frame.num_channels > 1:
        pcm = pcm.reshape(-1, frame.num_channels).astype(np.int32).mean(axis=1).astype(np.int16)
    return pcm


def to_float(pcm: Int16) -> Float32:
    """int16 to float32 in [-1, 1)."""
    return pcm.astype(np.float32) / 32768.0


def quietest(pcm: Float32, start: int, stop: int) -> int:
    """The centre of the quietest 30 ms between the samples ``start`` and ``stop``, as a sample index."""
    step, size = int(0.01 * SAMPLE_RATE), int(0.03 * SAMPLE_RATE)
    starts = range(start, max(start + 1, stop - size), step)
    best = min(starts, key=lambda i: float(np.mean(np.square(pcm[i : i + size]))))
    return min(best + size // 2, len(pcm))
