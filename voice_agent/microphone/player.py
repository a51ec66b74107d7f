"""The loudspeaker's callback: samples from a ring to the device, and a record of every block.

:class:`Player` connects two threads without a lock: :class:`~.speaker.SpeakerOutput` writes samples on the event loop,
the callback plays them on the sound system's thread and leaves a :class:`PlayedBlock` for each call.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from ..audio.samples import Int16
from ..clock import Clock
from .ring import Ring

RING_S = 30.0  # samples of a reply that wait to be played; a writer with more than that waits
PLAYED_S = 5.0  # what was played, until the event loop has taken it: longer than the loop should ever stall
KEEP_S = 1.0  # of what was played, in case the device is lost with it in its buffer
MAX_LATENCY_S = 2.0  # a higher latency reported by a device is not believed


class PlayedBlock(NamedTuple):
    """One call of the loudspeaker's callback: ``got`` of ``requested`` samples, from ring position ``start`` on."""

    start: int
    got: int
    requested: int
    at: float  # monotonic time at which the first of them is heard
    held: bool  # paused or cut: the silence is on purpose
    played: int  # samples written to the ring for the echo canceller


class Player:
    """Plays a ring of samples. ``latency_s``: from the callback until a sample is heard.

    :meth:`fill` runs on the sound system's thread and may not wait; everything else is for the event loop. ``ring``
    holds the samples to play, ``played`` what was played (for the echo canceller), ``blocks`` one record for each call.
    """

    def __init__(self, rate: int, clock: Clock, latency_s: float = 0.0) -> None:
        self._clock = clock
        self.rate = rate
        self.latency_s = latency_s
        self.ring = Ring(round(RING_S * rate), keep=round(KEEP_S * rate))
        self.played = Ring(round(PLAYED_S * rate))
        self.blocks: deque[PlayedBlock] = deque()
        self.paused = False
        self.cut = 0  # samples before this ring position are dropped
        self.xruns = 0
        self.called_at = clock.now()
        self._audible = False
        self._fade_in = False
        self._ramp = np.zeros(0)

    def fill(self, out: Int16, until_s: float, xrun: bool) -> None:
        """Fill ``out``, whose first sample is heard in ``until_s`` seconds. ``xrun``: the device ran dry before it.

        A reply that is stopped fades out over one block, and one that is resumed fades in: no click.
        """
        now = self._clock.now()
        ring, requested, cut = self.ring, len(out), self.cut
        start = ring.read
        held = self.paused or start < cut
        got = 0
        if not held or self._audible:
            got = ring.read_into(out[: requested if start >= cut else min(requested, cut - start)])
            if got and (held or self._fade_in):
                if len(self._ramp) != requested:
                    self._ramp = np.linspace(0.0, 1.0, requested)
                ramp = self._ramp[::-1] if held else self._ramp
                np.multiply(out[:got], ramp[:got], out=out[:got], casting="unsafe")
        if cut > ring.read:
            ring.skip_to(cut)
        self._audible = got > 0 and not held
        self._fade_in = self.paused or (self._fade_in and not got)
        out[got:] = 0
        if 0.0 < until_s < MAX_LATENCY_S:
            self.latency_s = until_s
        self.xruns += xrun
        self.called_at = now
        self.blocks.append(PlayedBlock(start, got, requested, now + self.latency_s, held, self.played.write(out)))
