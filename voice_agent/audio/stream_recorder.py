"""Places the continuous stream of a sound card on one track of the :class:`~.timeline.Timeline`."""

from __future__ import annotations

import numpy as np
import soxr

from .samples import Int16
from .timeline import RECORD_RATE, Timeline, Track

JUMP_S = 0.02  # a larger difference between sample count and clock starts a new run


class StreamRecorder:
    """Blocks of one stream at ``rate`` Hz, placed by counting samples: one run without gaps.

    Where the clock differs from the count by more than ``JUMP_S``, a new run begins at the clock's place.
    """

    def __init__(self, timeline: Timeline, track: Track, rate: int) -> None:
        self._timeline = timeline
        self._track = track
        self._rate = rate
        self._resampler = self._new_resampler()
        self._begin = 0  # where the run began, in samples of the timeline
        self._taken = 0  # samples of the stream in this run
        self._placed = 0  # samples of the timeline in this run
        self._running = False

    def _new_resampler(self) -> soxr.ResampleStream:
        return soxr.ResampleStream(self._rate, RECORD_RATE, 1, dtype="int16", vr=True)

    def add(self, pcm: Int16, at: float) -> None:
        """The first sample of ``pcm`` (mono int16) was captured, or is played, at ``at`` (monotonic seconds)."""
        by_clock = round(self._timeline.seconds(at) * RECORD_RATE)
        by_count = self._begin + self._taken * RECORD_RATE / self._rate
        if not self._running or abs(by_clock - by_count) > JUMP_S * RECORD_RATE:
            self._place(self._resampler.resample_chunk(np.zeros(0, np.int16), last=True) if self._running else None)
            self._resampler = self._new_resampler()
            self._begin, self._taken, self._placed, self._running = by_clock, 0, 0, True
        self._taken += len(pcm)
        self._place(self._resampler.resample_chunk(pcm))

    def _place(self, pcm: Int16 | None) -> None:
        if pcm is None or not len(pcm):
            return
        start = self._begin + self._placed
        self._placed += len(pcm)
        early = max(0, -start)  # samples before the timeline began
        if early < len(pcm):
            self._track.place(start + early, pcm[early:])
