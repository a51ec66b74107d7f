"""Frames in, VAD windows out, with the position in the audio and its place on the monotonic clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from livekit import rtc

from ..audio.samples import CAPTURED_AT, Int16
from ..clock import Clock
from .pcm import SAMPLE_RATE

WINDOW = 512
"""Samples of a VAD window: 32 ms at 16 kHz."""
WINDOW_S = WINDOW / SAMPLE_RATE
ANCHOR_FRAMES = 200
"""The earliest arrival among this many frames ties the audio to the clock."""


class FrameWindows:
    """Cuts 16 kHz mono frames into windows and counts the samples.

    Positions are seconds of audio since the stream began. A frame can arrive late but never early, so the earliest
    arrival gives the clock time of position 0. A frame with its capture time (``CAPTURED_AT``) gives it exactly.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rest: Int16 = np.zeros(0, np.int16)
        self._samples = 0  # in whole windows
        self._arrivals: deque[float] = deque(maxlen=ANCHOR_FRAMES)

    @property
    def position_s(self) -> float:
        """End of the last window that was given out."""
        return self._samples / SAMPLE_RATE

    @property
    def received_s(self) -> float:
        """End of the last sample that arrived."""
        return (self._samples + len(self._rest)) / SAMPLE_RATE

    def add(self, frame: rtc.AudioFrame) -> None:
        """Take the samples of ``frame`` and note when they arrived."""
        self._rest = np.concatenate([self._rest, np.frombuffer(frame.data, np.int16)])
        captured_at = frame.userdata.get(CAPTURED_AT)
        if captured_at is not None:  # exact; earlier arrivals may come from another device
            self._arrivals.clear()
        at = self._clock.now() if captured_at is None else float(captured_at)
        self._arrivals.append(at - self.received_s)

    def windows(self) -> Iterator[Int16]:
        """The whole windows that have arrived; ``position_s`` is the end of the one given out last."""
        while len(self._rest) >= WINDOW:
            window, self._rest = np.ascontiguousarray(self._rest[:WINDOW]), self._rest[WINDOW:]
            self._samples += WINDOW
            yield window

    def skip_window(self) -> None:
        """Advance by one window that did not arrive (after the end of the input)."""
        self._samples += WINDOW

    def at(self, position_s: float) -> float:
        """When the sample at ``position_s`` was captured, in seconds on the monotonic clock."""
        return min(self._arrivals) + position_s

    def now_s(self) -> float:
        """The present as a position; at least the end of the last window."""
        return max(self.position_s, self._clock.now() - min(self._arrivals))
