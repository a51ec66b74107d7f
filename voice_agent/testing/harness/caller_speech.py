"""What a caller in a room says: silence, until :meth:`CallerSpeech.say` gives it speech; pushed to a track in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from livekit import rtc

from ...audio.samples import Int16
from .agent_audio import FRAME, RATE

PIECE = 10  # frames pushed to the track at once: each push costs the same
LEAD_S = 0.05  # pushed this long before it is due, so that a busy moment makes no gap in the speech


class CallerSpeech:
    """The caller's side of the timeline. ``now_s``: the present on it; ``lead_s``: how early sound is pushed."""

    def __init__(self, now_s: Callable[[], float], *, lead_s: float = LEAD_S) -> None:
        self._now_s = now_s
        self._lead_s = lead_s
        self._queue: list[Int16] = []
        self._pushed: list[Int16] = []
        self._until_s = 0.0
        self.worst_lag_s = 0.0
        """How late speech was pushed at most: figures of a caller that lagged are worth nothing."""

    def say(self, pcm: Int16) -> float:
        """Speak 16 kHz mono ``pcm`` after everything still to be spoken. Returns when its first sample is spoken."""
        start = (len(self._pushed) + len(self._queue)) * FRAME / RATE
        padded = np.concatenate([pcm, np.zeros(-len(pcm) % FRAME, np.int16)])
        self._queue += [padded[i : i + FRAME] for i in range(0, len(padded), FRAME)]
        self._until_s = start + len(padded) / RATE
        return start

    @property
    def until_s(self) -> float:
        """Where the speech given so far ends."""
        return self._until_s

    @property
    def speaking(self) -> bool:
        """Something is still to be spoken."""
        return self._now_s() < self._until_s

    @property
    def track(self) -> Int16:
        """What was pushed so far."""
        return np.concatenate(self._pushed) if self._pushed else np.zeros(0, np.int16)

    async def feed(self, source: rtc.AudioSource) -> None:
        """Push speech and silence to ``source``, for ever."""
        silence = np.zeros(FRAME, np.int16)
        while True:
            # After a stall in silence the timeline jumps; else it would lag for ever, and every later figure with it.
            while not self._queue and self._now_s() > (len(self._pushed) + 2) * FRAME / RATE:
                self._pushed.append(silence)
            left_s = len(self._pushed) * FRAME / RATE - self._now_s()
            if left_s > self._lead_s:
                await asyncio.sleep(left_s - self._lead_s)
            elif self._pushed and self._queue:
                self.worst_lag_s = max(self.worst_lag_s, -left_s)
            frames, self._queue = self._queue[:PIECE], self._queue[PIECE:]
            frames += [silence] * (PIECE - len(frames))
            piece = np.concatenate(frames)
            await source.capture_frame(rtc.AudioFrame(piece.tobytes(), RATE, 1, len(piece)))
            self._pushed += frames
