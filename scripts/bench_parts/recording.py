"""Latency measured on the samples of a conversation's recording (left: the user, right: the agent).

Every system under comparison writes such a recording, so all of them are measured by the same function.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clips import RATE, Clip

from voice_agent.audio.resampling import resample
from voice_agent.audio.samples import Int16
from voice_agent.audio.timeline import AUDIBLE
from voice_agent.errors import AudioError

SEARCH_S = 90.0  # a clip begins at most this long after the end of the last one


@dataclass(frozen=True, slots=True)
class Measured:
    """One clip. ``delay_s``: end of its speech to the first audible sample of the agent; None unanswered or cut off.

    ``cut_off``: the agent was audible after the clip's first and before its last sound, ``overlap_s`` before its end.
    """

    clip: Clip
    begins_s: float
    delay_s: float | None
    cut_off: bool
    overlap_s: float

    @property
    def unanswered(self) -> bool:
        return self.delay_s is None and not self.cut_off


def measure(path: Path, clips: Sequence[Clip]) -> list[Measured]:
    """The clips in the order in which they were spoken. Raises AudioError if one cannot be found in the recording."""
    with wave.open(str(path)) as reader:
        rate = reader.getframerate()
        stereo = np.frombuffer(reader.readframes(reader.getnframes()), np.int16).reshape(-1, 2)
    user, agent = stereo[:, 0], stereo[:, 1]
    starts, after = [], 0
    for clip in clips:
        spoken = resample(clip.pcm, RATE, rate)
        start = _find(user[after : after + len(spoken) + round(SEARCH_S * rate)], spoken)
        if start is None:
            raise AudioError(f"{path}: {clip.name} is not in it; the run broke off, its log says why")
        starts.append(after + start)
        after += start + len(spoken)
    found = []
    for clip, start, stop in zip(clips, starts, [*starts[1:], len(user)], strict=True):
        loud = np.flatnonzero(np.abs(agent[start:stop].astype(np.int32)) > AUDIBLE)
        delay = int(loud[0]) / rate - clip.end_s if len(loud) else None
        cut = delay is not None and delay < -0.001
        overlap = -delay if delay is not None and cut else 0.0
        found.append(Measured(clip, start / rate, None if cut else delay, cut, overlap))
    return found


def _find(track: Int16, pattern: Int16) -> int | None:
    """The first place of ``pattern`` in ``track``, by cross-correlation. None: not found."""
    if len(track) < len(pattern) // 2:
        return None
    padded = np.concatenate([track, np.zeros(len(pattern), np.int16)]).astype(np.float64)
    samples = pattern.astype(np.float64)
    size = 1 << (len(padded) + len(pattern) - 1).bit_length()
    product = np.fft.rfft(padded, size) * np.conj(np.fft.rfft(samples, size))
    likeness = np.fft.irfft(product, size)[: len(track)] / float(samples @ samples)
    hits = np.flatnonzero(likeness > 0.98)
    if not len(hits):
        return None
    first = int(hits[0])
    near = likeness[first : first + 48]  # 2 ms: the flank of the peak comes before its top
    return first + int(np.argmax(near))
