"""Where speech begins and ends in a recording, by LiveKit's VAD. Input: 16 kHz mono int16; output: seconds."""

from __future__ import annotations

import numpy as np
from livekit.local_inference import VAD

from ...audio.samples import Int16
from ...audio.timeline import AUDIBLE, USER_RATE

WINDOW = 512  # samples: 32 ms at 16 kHz, the VAD's window


def speech_end_s(pcm: Int16) -> float:
    """End of the last 32 ms window to which the VAD gives p > 0.5, in seconds; 0 if there is none. 16 kHz."""
    ends = [end for end, p in window_probabilities(pcm) if p > 0.5]
    return min(ends[-1], len(pcm) / USER_RATE) if ends else 0.0


def speech_onset_s(pcm: Int16) -> float:
    """Where speech begins in 16 kHz ``pcm``: the first audible sample at most 64 ms before the first 32 ms window to
    which the VAD gives p > 0.5; that window's start if there is none, 0 without speech."""
    first = next((end for end, p in window_probabilities(pcm) if p > 0.5), None)
    if first is None:
        return 0.0
    start = round(first * USER_RATE) - WINDOW
    before = max(0, start - 2 * WINDOW)
    loud = np.flatnonzero(np.abs(pcm[before : start + WINDOW].astype(np.int32)) > AUDIBLE)
    return (before + int(loud[0]) if len(loud) else start) / USER_RATE


def window_probabilities(pcm: Int16) -> list[tuple[float, float]]:
    """(end in seconds, speech probability) of each 32 ms window, with a window of silence after the end."""
    vad = VAD()
    padded = np.concatenate([pcm, np.zeros(-len(pcm) % WINDOW + WINDOW, np.int16)])
    starts = range(0, len(padded) - WINDOW + 1, WINDOW)
    return [
        ((i + WINDOW) / USER_RATE, float(vad.predict(np.ascontiguousarray(padded[i : i + WINDOW])))) for i in starts
    ]


def speech_span(pcm: Int16) -> tuple[float, float] | None:
    """Begin of the first and end of the last 32 ms window with p > 0.5, in seconds; None without speech. 16 kHz."""
    ends = [end for end, p in window_probabilities(pcm) if p > 0.5]
    if not ends:
        return None
    return ends[0] - WINDOW / USER_RATE, min(ends[-1], len(pcm) / USER_RATE)
