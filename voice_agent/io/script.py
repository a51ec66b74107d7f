"""The script end: recorded speech in, in real time, and an ear that knows when each sample of the reply is heard.

:class:`ScriptInput` and :class:`ScriptOutput` are LiveKit's AudioInput and AudioOutput over one :class:`~.line.Line`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from ..decisions import Int16
from .line import AUDIBLE, USER_RATE, Line

FRAME = 160  # samples: 10 ms of the user's 16 kHz
GRID = 512  # items start on a VAD window, so that an end of speech is the same on the line and in the clip


class ScriptInput(io.AudioInput):
    """The user's microphone: silence, until :meth:`say` gives it speech. Run :meth:`feed` as a task."""

    def __init__(self, line: Line) -> None:
        super().__init__(label="script")
        self._line = line
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()
        self._speech: Int16 = np.zeros(0, np.int16)
        self._speech_at = 0
        self.position = 0  # samples spoken so far
        self.worst_lag_s = 0.0

    def say(self, pcm: Int16) -> int:
        """Speak 16 kHz ``pcm`` as soon as the line comes to the next window. Returns the sample it begins at."""
        if self.speaking:
            raise RuntimeError("the user is still speaking; one item at a time")
        self._speech = pcm
        self._speech_at = (self.position // GRID + 2) * GRID
        self._line.place_user(self._speech_at, pcm)
        return self._speech_at

    @property
    def speaking(self) -> bool:
        """An item has not been spoken to its end yet."""
        return self.position < self._speech_at + len(self._speech)

    async def feed(self) -> None:
        """Hand out 10 ms frames, each when its last sample has been spoken. After a stall the missed ones follow at
        once, as a sound card's buffer would give them: the line itself never lags."""
        line = self._line
        while True:
            due = line.started_at + (self.position + FRAME) / USER_RATE
            wait = due - line.clock.now()
            if wait > 0:
                await asyncio.sleep(wait)
            elif -wait > self.worst_lag_s:
                self.worst_lag_s = -wait
            frame = np.zeros(FRAME, np.int16)
            offset = self.position - self._speech_at
            piece = self._speech[max(0, offset) : max(0, offset + FRAME)]
            begin = max(0, -offset)
            frame[begin : begin + len(piece)] = piece[: FRAME - begin]
            self._frames.put_nowait(rtc.AudioFrame(frame.tobytes(), USER_RATE, 1, FRAME))
            self.position += FRAME

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


class ScriptOutput(io.AudioOutput):
    """The user's ear: plays in real time. ``on_audible(at)``: the first audible sample of a segment is heard at ``at``.

    ``on_gaps(count, total_ms)``: at the end of a segment, how often it ran dry between its first and last sample.
    """

    def __init__(
        self, line: Line, *, on_audible: Callable[[float], None], on_gaps: Callable[[int, float], None]
    ) -> None:
        super().__init__(label="script", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=None)
        self._line = line
        self._on_audible = on_audible
        self._on_gaps = on_gaps
        self._began: float | None = None
        self._until = 0.0  # when the last sample handed in has been heard
        self._pushed_s = 0.0
        self._heard = False
        self._gaps = 0
        self._gap_ms = 0.0
        self._finish: asyncio.TimerHandle | None = None
        self.last_audible_end = 0.0  # when the agent was last heard, monotonic

    @property
    def playing(self) -> bool:
        """A segment has begun and is not over."""
        return self._began is not None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        now = self._line.clock.now()
        if self._began is None:
            self._began, self._until, self._pushed_s = now, now, 0.0
            self._heard, self._gaps, self._gap_ms = False, 0, 0.0
            self.on_playback_started(created_at=self._line.clock.wall())
        elif now > self._until:
            self._gaps += 1
            self._gap_ms += (now - self._until) * 1000
        start = max(self._until, now)
        pcm = np.frombuffer(frame.data, np.int16)
        self._line.place_agent(start, pcm, frame.sample_rate)
        if not self._heard:
            loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > AUDIBLE)
            if len(loud):
                self._heard = True
                self._on_audible(start + int(loud[0]) / frame.sample_rate)
        self._until = start + frame.duration
        self._pushed_s += frame.duration
        self.last_audible_end = self._until

    def flush(self) -> None:
        super().flush()
        if self._began is not None and self._finish is None:
            wait = max(0.0, self._until - self._line.clock.now())
            self._finish = asyncio.get_running_loop().call_later(wait, self._end, False)

    def clear_buffer(self) -> None:
        if self._began is not None:
            self._line.cut_agent(self._line.clock.now())
            self._end(True)

    def _end(self, interrupted: bool) -> None:
        if self._finish is not None:
            self._finish.cancel()
            self._finish = None
        self._began = None
        now = self._line.clock.now()
        self.last_audible_end = min(self._until, now)
        self._on_gaps(self._gaps, self._gap_ms)
        self.on_playback_finished(
            playback_position=self._pushed_s - max(0.0, self._until - now), interrupted=interrupted
        )
