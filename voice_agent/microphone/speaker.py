"""The loudspeaker: what the agent says goes into a ring, the device's callback takes it out; what was heard is known to
the sample.

:class:`Player` is the callback's half and runs on the sound system's thread; :class:`SpeakerOutput` is LiveKit's
AudioOutput and runs on the event loop. Between them: a ring of samples one way, a row of marks the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import soxr
from livekit import rtc
from livekit.agents.voice import io

from ..audio.heard_words import HeardWords
from ..audio.samples import Int16
from ..audio.timeline import AUDIBLE
from ..clock import Clock
from .ring import Ring

RING_S = 30.0  # of a reply that is ahead of the loudspeaker; more than that waits
PLAYED_S = 5.0  # what was played, until the event loop has taken it: longer than it should ever stall
KEEP_S = 1.0  # of what was played, should the device vanish with it in its buffer
MOST_LATENCY_S = 2.0  # a device that claims more is not believed


class PlayedBlock(NamedTuple):
    """One call of the loudspeaker's callback, which asked for ``wanted`` samples and got ``got`` from ``start`` on."""

    start: int
    got: int
    wanted: int
    at: float  # when the first of them is heard, monotonic
    held: bool  # paused or cut: the rest is silence on purpose
    played: int  # how many samples went to the echo canceller's ring


class Player:
    """The callback's half. ``latency_s``: until a sample is heard, where the callback is not told."""

    def __init__(self, rate: int, clock: Clock, latency_s: float = 0.0) -> None:
        self._clock = clock
        self.rate = rate
        self.latency_s = latency_s
        self.ring = Ring(round(RING_S * rate), keep=round(KEEP_S * rate))
        self.played = Ring(round(PLAYED_S * rate))
        self.marks: deque[PlayedBlock] = deque()
        self.paused = False
        self.cut = 0  # what lies before this position is no longer wanted
        self.xruns = 0
        self.called_at = clock.now()
        self._sounding = False
        self._soft = False
        self._ramp = np.zeros(0)

    def fill(self, out: Int16, until_s: float, xrun: bool) -> None:
        """Fill one block; its first sample is heard in ``until_s``.

        A reply that is stopped fades out over one block, one that goes on fades in: no click.
        """
        now = self._clock.now()
        ring, wanted, cut = self.ring, len(out), self.cut
        start = ring.read
        held = self.paused or start < cut
        got = 0
        if not held or self._sounding:
            got = ring.read_into(out[: wanted if start >= cut else min(wanted, cut - start)])
            if got and (held or self._soft):
                if len(self._ramp) != wanted:
                    self._ramp = np.linspace(0.0, 1.0, wanted)
                ramp = self._ramp[::-1] if held else self._ramp
                np.multiply(out[:got], ramp[:got], out=out[:got], casting="unsafe")
        if cut > ring.read:
            ring.skip_to(cut)
        self._sounding = got > 0 and not held
        self._soft = self.paused or (self._soft and not got)
        out[got:] = 0
        if 0.0 < until_s < MOST_LATENCY_S:
            self.latency_s = until_s
        self.xruns += xrun
        self.called_at = now
        self.marks.append(PlayedBlock(start, got, wanted, now + self.latency_s, held, self.played.write(out)))


@dataclass(slots=True)
class PlaybackSegment:
    """What lies between two flushes. Positions are the ring's."""

    begin: int
    end: int
    heard: int  # up to here it went to the device
    heard_until: float = 0.0  # and so long it is heard
    flushed: bool = False
    cut: int | None = None  # interrupted; over when the callback has come past this
    started: bool = False
    audible: int | None = None
    audible_at: float | None = None
    dry: int = 0  # silence since the last sample, in samples; a gap once another sample follows
    gaps: int = 0
    gap_ms: float = 0.0
    words: HeardWords = field(default_factory=HeardWords)
    pushed_s: float = 0.0


class SpeakerOutput(io.AudioOutput):
    """``on_audible(at)``: the first audible sample of a segment is heard at ``at`` (monotonic, the device's latency
    included). ``on_gaps(count, total_ms)``: at the end of a segment, how often it ran dry in its middle.

    :meth:`pump` is to be called when the callback has run; it reports what was heard since.
    """

    def __init__(
        self,
        player: Player,
        clock: Clock,
        *,
        on_audible: Callable[[float], None],
        on_gaps: Callable[[int, float], None],
        on_played: Callable[[Int16, float], None] = lambda pcm, at: None,
    ) -> None:
        super().__init__(label="loudspeaker", capabilities=io.AudioOutputCapabilities(pause=True), sample_rate=None)
        self._player = player
        self._clock = clock
        self._on_audible = on_audible
        self._on_gaps = on_gaps
        self._on_played = on_played
        self._segments: deque[PlaybackSegment] = deque()
        self._resampler: soxr.ResampleStream | None = None
        self._rate = 0  # of the frames that the resampler takes
        self._dead = False  # what comes until the next flush belongs to an interrupted segment
        self._room = asyncio.Event()
        self._halted = False
        self.last_audible_end = 0.0  # when the agent was last heard, monotonic

    # --- what LiveKit calls -------------------------------------------------------------------------------------------

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self._dead:
            return
        pcm = np.frombuffer(frame.data, np.int16)
        if frame.num_channels > 1:
            pcm = pcm.reshape(-1, frame.num_channels).mean(axis=1).astype(np.int16)
        if not self._segments or self._segments[-1].flushed or self._segments[-1].cut is not None:
            at = self._player.ring.written
            self._segments.append(PlaybackSegment(at, at, at))
        segment = self._segments[-1]
        segment.words.add(frame, segment.pushed_s)
        segment.pushed_s += frame.duration
        if frame.sample_rate != self._rate:
            await self._put(segment, self._tail())
            self._rate = frame.sample_rate
        if self._resampler is None and self._rate != self._player.rate:
            self._resampler = soxr.ResampleStream(self._rate, self._player.rate, 1, dtype="int16")
        await self._put(segment, pcm if self._resampler is None else self._resampler.resample_chunk(pcm))

    def flush(self) -> None:
        super().flush()
        self._dead = False
        if self._segments and not self._segments[-1].flushed and self._segments[-1].cut is None:
            segment = self._segments[-1]
            tail = self._tail()
            self._look(segment, tail)
            self._player.ring.write(tail)
            segment.end = self._player.ring.written
            segment.flushed = True
            self._finish()

    def clear_buffer(self) -> None:
        ring = self._player.ring
        open_ = [s for s in self._segments if s.cut is None]
        if not open_:
            return
        self._dead = not open_[-1].flushed
        self._resampler = None
        for segment in open_:
            segment.cut = ring.written
        self._player.cut = ring.written
        self._room.set()
        if self._halted:  # no callback will come past the cut
            ring.skip_to(ring.written)
            self._finish()

    def pause(self) -> None:
        super().pause()
        self._player.paused = True

    def resume(self) -> None:
        super().resume()
        self._player.paused = False

    # --- what is known ------------------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """A segment has begun and is not over (it may be paused)."""
        return bool(self._segments)

    @property
    def paused(self) -> bool:
        """Nothing is heard until :meth:`resume`."""
        return self._player.paused

    @property
    def audible_since(self) -> float | None:
        """When the present segment was first heard (monotonic); None if none is, or nothing audible came yet."""
        return self._segments[0].audible_at if self._segments else None

    # --- what the callback has done -----------------------------------------------------------------------------------

    def pump(self) -> None:
        """Report what was heard, and end what has ended."""
        marks = self._player.marks
        while marks:
            mark = marks.popleft()
            if not mark.got and not self._segments:  # nobody speaks: the silence of several calls is handed on as one
                while marks and not marks[0].got:
                    mark = mark._replace(played=mark.played + marks.popleft().played)
            self._on_played(self._player.played.take(mark.played), mark.at)
            self._heard(mark)
        self._finish()
        if self._player.ring.free > self._player.rate:
            self._room.set()

    def _heard(self, mark: PlayedBlock) -> None:
        rate, stop = self._player.rate, mark.start + mark.got
        for segment in self._segments:
            low, high = max(mark.start, segment.begin), min(stop, segment.end)
            if high <= low:
                continue
            if not segment.started:
                segment.started = True
                ahead = mark.at + (low - mark.start) / rate - self._clock.now()
                self.on_playback_started(created_at=self._clock.wall() + ahead)
            if segment.dry:
                segment.gaps += 1
                segment.gap_ms += segment.dry / rate * 1000
                segment.dry = 0
            segment.heard = high
            segment.heard_until = self.last_audible_end = mark.at + (high - mark.start) / rate
            if segment.audible is not None and segment.audible < high and segment.audible_at is None:
                segment.audible_at = mark.at + (segment.audible - mark.start) / rate
                self._on_audible(segment.audible_at)
        head = self._segments[0] if self._segments else None
        if head is not None and head.started and not head.flushed and not mark.held and head.heard == head.end:
            head.dry += mark.wanted - mark.got

    def _finish(self) -> None:
        now = self._clock.now()
        while self._segments:
            segment = self._segments[0]
            over = segment.flushed and segment.heard == segment.end and now >= segment.heard_until
            if segment.cut is not None:
                over = self._player.ring.read >= segment.cut and not self._player.marks
            if not over:
                return
            self._segments.popleft()
            interrupted = segment.cut is not None
            position = (segment.heard - segment.begin) / self._player.rate
            self._on_gaps(segment.gaps, segment.gap_ms)
            self.on_playback_finished(
                playback_position=position,
                interrupted=interrupted,
                synchronized_transcript=segment.words.until(position) if interrupted else None,
            )

    # --- samples in ---------------------------------------------------------------------------------------------------

    def _look(self, segment: PlaybackSegment, pcm: Int16) -> None:
        """Find the first audible sample in ``pcm``, which is about to be written."""
        if segment.audible is None:
            loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > AUDIBLE)
            if len(loud):
                segment.audible = self._player.ring.written + int(loud[0])

    async def _put(self, segment: PlaybackSegment, pcm: Int16) -> None:
        self._look(segment, pcm)
        while len(pcm):
            count = self._player.ring.write(pcm)
            segment.end = self._player.ring.written
            pcm = pcm[count:]
            if len(pcm):
                self._room.clear()
                await self._room.wait()
                if segment.cut is not None:
                    return

    def _tail(self) -> Int16:
        """What the resampler still holds; it is done with."""
        resampler, self._resampler = self._resampler, None
        empty = np.zeros(0, np.int16)
        return empty if resampler is None else resampler.resample_chunk(empty, last=True)

    # --- a device that vanishes ---------------------------------------------------------------------------------------

    def halt(self) -> None:
        """The device is gone, its stream closed: nothing is heard from now on."""
        self.pump()
        self._halted = True
        if self._segments and self._player.cut > self._player.ring.read:
            self._player.ring.skip_to(self._player.cut)
            self._finish()

    def go_on(self, player: Player) -> None:
        """Another stream, on ``player`` (which may have another rate): what the old device had taken but nobody heard
        is played again, and all that waits follows."""
        old, self._player = self._player, player
        head = self._segments[0] if self._segments else None
        unheard = round(old.latency_s * old.rate)
        position = old.ring.rewind(max(head.begin, head.heard - unheard)) if head is not None else old.ring.written
        waiting = old.ring.take(old.ring.available)
        if self._segments and not self._segments[-1].flushed:
            tail = self._tail()
            waiting = np.concatenate([waiting, tail])
        self._resampler = None
        ratio = player.rate / old.rate
        if ratio != 1.0 and len(waiting):
            waiting = soxr.resample(waiting, old.rate, player.rate)

        def moved(old_position: int) -> int:
            return round(old_position * ratio)

        keep = round(KEEP_S * player.rate)
        ring = Ring(max(player.ring.capacity, len(waiting) + 2 * keep), keep=keep, start=moved(position))
        ring.write(waiting)
        player.paused = old.paused
        player.ring = ring
        player.cut = player.ring.read
        for segment in self._segments:
            segment.begin, segment.end = moved(segment.begin), min(moved(segment.end), player.ring.written)
            segment.heard = min(moved(segment.heard), moved(position)) if segment is head else segment.begin
            segment.dry = 0
            if segment.audible is not None:
                segment.audible = moved(segment.audible)
        if self._segments and not self._segments[-1].flushed:
            self._segments[-1].end = player.ring.written
        self._halted = False
        self._room.set()
