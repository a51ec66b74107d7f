"""Silence trimming around chunks of speech: a pause between sentences stays, other silence is removed. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AUDIBLE = 300
"""A sample above this (of 32767: 1 %, -41 dBFS) is audible."""
REPLY_LEAD_S = 0.005
JOINED_LEAD_S = 0.02
JOINED_TAIL_S = 0.03


class SilenceTrimmer:
    """Returns the samples of one chunk without the silence to be removed.

    A Piper voice starts every chunk with 30-75 ms of near-silence (median 46, n = 48) and ends it with 115-280 ms
    (median 186). Between sentences both are the pause and stay. At the start of a reply (``starts_reply``) the first
    is only latency. Where a phrase was cut in two (``joins_previous``, ``joins_next``) both would sound like a stumble.
    """

    def __init__(
        self, sample_rate: int, *, starts_reply: bool = False, joins_previous: bool = False, joins_next: bool = False
    ) -> None:
        self._lead = int((REPLY_LEAD_S if starts_reply else JOINED_LEAD_S) * sample_rate)
        self._leading = starts_reply or joins_previous
        self._tail = int(JOINED_TAIL_S * sample_rate) if joins_next else None
        self._held: NDArray[np.int16] = np.zeros(0, np.int16)
        self.skipped = 0
        """Samples removed at the start so far."""

    def push(self, samples: NDArray[np.int16], *, last: bool = False) -> NDArray[np.int16]:
        """The part of ``samples`` to play now; it may be empty. ``last``: they end the chunk.

        Silence at the end of ``samples`` that are not the last is never held back, though it may turn out to belong to
        the tail: the silence of a stop consonant is as long, and the output's buffer would run empty in it.
        """
        samples = np.concatenate([self._held, samples])
        # int32: the magnitude of -32768 is no int16
        audible = np.flatnonzero(np.abs(samples.astype(np.int32)) > AUDIBLE)
        start, end = 0, samples.size
        if self._leading:
            if not audible.size:
                self.skipped += max(samples.size - self._lead, 0)
                self._held = samples[max(samples.size - self._lead, 0) :]
                return samples[:0]
            self._leading, self._held = False, samples[:0]
            start = max(int(audible[0]) - self._lead, 0)
            self.skipped += start
        if last and self._tail is not None:
            end = min(end, (int(audible[-1]) + 1 if audible.size else 0) + self._tail)
        return samples[start:end]
