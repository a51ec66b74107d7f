"""The user's loudspeaker of the call harness: plays in real time, as LiveKit's AudioOutput, and counts every sample."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from ...audio.heard_words import HeardWords
from ...audio.samples import Int16
from ...audio.timeline import AUDIBLE, Timeline


@dataclass(slots=True)
class _Segment:
    """The frames between two flushes. Times are monotonic; a pause moves them on."""

    start: float
    until: float  # when the last sample pushed so far has been played
    pushed_s: float = 0.0
    flushed: bool = False
    started: bool = False
    audible_at: float | None = None
    audible_told: bool = False
    gaps: int = 0
    gap_ms: float = 0.0
    words: HeardWords = field(default_factory=HeardWords)


class ScriptOutput(io.AudioOutput):
    """The user's loudspeaker: plays in real time.

    ``on_audible(at)``: the first audible sample of a segment is played at ``at`` (monotonic). ``on_gaps(count,
    total_ms)``: at the end of a segment, how often it ran dry between its first and last sample.

    Segments pushed back to back are played one after the other, each with its own start and end. While paused nothing
    is played; :meth:`resume` goes on at the next sample. Everything is counted in samples: the end of an interrupted
    reply, and the words heard until there, are those of the recording.
    """

    def __init__(
        self, timeline: Timeline, *, on_audible: Callable[[float], None], on_gaps: Callable[[int, float], None]
    ) -> None:
        super().__init__(label="script", capabilities=io.AudioOutputCapabilities(pause=True), sample_rate=None)
        self._timeline = timeline
        self._on_audible = on_audible
        self._on_gaps = on_gaps
        self._segments: deque[_Segment] = deque()  # the first one is playing, the others wait
        self._pieces: deque[tuple[float, Int16, int]] = deque()  # not played to the end yet: start, samples, rate
        self._timer: asyncio.TimerHandle | None = None
        self._paused_at: float | None = None
        self.last_audible_end = 0.0  # when the agent was last heard, monotonic
        self.pauses: list[tuple[float, float]] = []  # (from, to) of each pause that cut into a reply, monotonic

    @property
    def playing(self) -> bool:
        """A segment has begun and is not over (it may be paused)."""
        return bool(self._segments)

    @property
    def paused(self) -> bool:
        """Nothing is played until :meth:`resume`."""
        return self._paused_at is not None

    @property
    def audible_since(self) -> float | None:
        """When the playing segment became audible (monotonic); None if none is playing or it is silent so far."""
        head = self._segments[0] if self._segments else None
        return head.audible_at if head is not None and head.audible_told else None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        now = self._now()
        if not self._segments or self._segments[-1].flushed:
            start = max(now, self._segments[-1].until) if self._segments else now
            self._segments.append(_Segment(start, start))
        segment = self._segments[-1]
        if segment.pushed_s and now > segment.until:
            segment.gaps += 1
            segment.gap_ms += (now - segment.until) * 1000
        start = max(segment.until, now)
        pcm = np.frombuffer(frame.data, np.int16)
        self._pieces.append((start, pcm, frame.sample_rate))
        if self._paused_at is None:
            self._timeline.place_agent(start, pcm, frame.sample_rate)
        if segment.audible_at is None:
            loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > AUDIBLE)
            if len(loud):
                segment.audible_at = start + int(loud[0]) / frame.sample_rate
        segment.words.add(frame, segment.pushed_s)
        segment.until = start + frame.duration
        segment.pushed_s += frame.duration
        while self._pieces and self._pieces[0][0] + len(self._pieces[0][1]) / self._pieces[0][2] <= now:
            self._pieces.popleft()
        self.last_audible_end = segment.until
        self._tell()

    def flush(self) -> None:
        super().flush()
        if self._segments:
            self._segments[-1].flushed = True
            self._schedule()

    def clear_buffer(self) -> None:
        if not self._segments:
            return
        now = self._now()
        self._timeline.cut_agent(now)
        self._pieces.clear()
        while self._segments:
            self._end(interrupted=True)

    def pause(self) -> None:
        super().pause()
        if self._paused_at is not None:
            return
        self._paused_at = now = self._timeline.clock.now()
        self._timeline.cut_agent(now)
        self.last_audible_end = min(self.last_audible_end, now)
        self._schedule()

    def resume(self) -> None:
        super().resume()
        if self._paused_at is None:
            return
        since, now = self._paused_at, self._timeline.clock.now()
        self._paused_at = None
        if not self._segments:
            return
        self.pauses.append((since, now))
        late = now - since
        pieces, self._pieces = self._pieces, deque()
        for start, pcm, rate in pieces:
            heard = max(0, round((since - start) * rate))
            if heard < len(pcm):
                at = max(start, since) + late
                self._pieces.append((at, pcm[heard:], rate))
                self._timeline.place_agent(at, pcm[heard:], rate)
        for segment in self._segments:
            if segment.audible_at is not None and segment.audible_at >= since:
                segment.audible_at += late
            if segment.start >= since:
                segment.start += late
            if segment.until > since:
                segment.until += late
            self.last_audible_end = segment.until
        self._tell()
        self._schedule()

    # --- time -------------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        """The present; it stands still while paused."""
        return self._timeline.clock.now() if self._paused_at is None else self._paused_at

    def _tell(self) -> None:
        """Report that the first segment has begun and become audible."""
        if not self._segments or self._paused_at is not None:
            return
        head = self._segments[0]
        if not head.started:
            head.started = True
            self.on_playback_started(created_at=self._timeline.clock.wall())
        if head.audible_at is not None and not head.audible_told:
            head.audible_told = True
            self._on_audible(head.audible_at)

    def _schedule(self) -> None:
        """Set the timer for the end of the first segment, if it is flushed and not paused."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._segments and self._segments[0].flushed and self._paused_at is None:
            wait = max(0.0, self._segments[0].until - self._timeline.clock.now())
            self._timer = asyncio.get_running_loop().call_later(wait, self._over)

    def _over(self) -> None:
        self._timer = None
        self._end(interrupted=False)
        self._tell()
        self._schedule()

    def _end(self, *, interrupted: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        segment = self._segments.popleft()
        now = self._now()
        self.last_audible_end = min(self.last_audible_end, max(now, segment.until if not interrupted else now))
        self._on_gaps(segment.gaps, segment.gap_ms)
        position = min(segment.pushed_s, max(0.0, segment.pushed_s - max(0.0, segment.until - now)))
        self.on_playback_finished(
            playback_position=position,
            interrupted=interrupted,
            synchronized_transcript=segment.words.until(position) if interrupted else None,
        )
