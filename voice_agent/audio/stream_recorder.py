"""Puts a sound card's endless stream onto one track of the :class:`~.line.Timeline`."""

from __future__ import annotations

import numpy as np
import soxr

from ..audio.samples import Int16
from .timeline import RECORD_RATE, Timeline, Track

JUMP_S = 0.02  # the stream goes on where it was, unless the clock says that it is further off than this


class Channel:
    """Pieces of one stream, placed without seams; placed anew where the clock disagrees by more than ``JUMP_S``."""

    def __init__(self, line: Timeline, track: Track, rate: int) -> None:
        self._line = line
        self._track = track
        self._rate = rate
        self._resampler = self._new_resampler()
        self._begin = 0  # where the run began, in samples of the line
        self._taken = 0  # samples of the stream since then
        self._placed = 0  # samples on the line since then
        self._running = False

    def _new_resampler(self) -> soxr.ResampleStream:
        return soxr.ResampleStream(self._rate, RECORD_RATE, 1, dtype="int16", vr=True)

    def add(self, pcm: Int16, at: float) -> None:
        """The first sample of ``pcm`` was captured, or is heard, at ``at`` (monotonic)."""
        want = round(self._line.seconds(at) * RECORD_RATE)
        here = self._begin + self._taken * RECORD_RATE / self._rate
        if not self._running or abs(want - here) > JUMP_S * RECORD_RATE:
            self._place(self._resampler.resample_chunk(np.zeros(0, np.int16), last=True) if self._running else None)
            self._resampler = self._new_resampler()
            self._begin, self._taken, self._placed, self._running = want, 0, 0, True
        self._taken += len(pcm)
        self._place(self._resampler.resample_chunk(pcm))

    def _place(self, pcm: Int16 | None) -> None:
        if pcm is None or not len(pcm):
            return
        start = self._begin + self._placed
        self._placed += len(pcm)
        early = max(0, -start)  # before the line began
        if early < len(pcm):
            self._track.place(start + early, pcm[early:])
