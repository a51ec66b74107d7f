"""The loudspeaker as LiveKit's AudioOutput. It knows to the sample what was heard of each segment.

Frames go into the ring of a :class:`~.player.Player`. After each callback :meth:`SpeakerOutput.pump` reads the played
blocks and reports the start, the first audible sample, the gaps and the end of each segment.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import soxr
from livekit import rtc
from livekit.agents.voice import io

from ..audio.heard_words import HeardWords
from ..audio.samples import Int16
from ..audio.timeline import AUDIBLE
from ..clock import Clock
from .player import KEEP_S, PlayedBlock, Player
from .ring import Ring


@dataclass(slots=True)
class PlaybackSegment:
    """The samples between two flushes: a reply, or a part of it. Positions are those of the ring."""

    begin: int
    end: int
    heard: int  # the position up to which samples went to the device
    heard_until: float = 0.0  # the monotonic time at which the last of them has been heard
    flushed: bool = False
    cut: int | None = None  # interrupted: the segment ends when the callback has passed this position
    started: bool = False
    audible: int | None = None  # the position of the first audible sample
    audible_at: float | None = None
    dry: int = 0  # silent samples played since the last one of the segment; a gap once another one follows
    gaps: int = 0
    gap_ms: float = 0.0
    words: HeardWords = field(default_factory=HeardWords)
    pushed_s: float = 0.0


class SpeakerOutput(io.AudioOutput):
    """LiveKit's AudioOutput on a :class:`~.player.Player`.

    ``on_audible(at)``: the first audible sample of a segment is heard at ``at`` (monotonic, device latency included).
    ``on_gaps(count, total_ms)``: at the end of a segment, how often it ran dry before its end. ``on_played(pcm, at)``:
    what the device was given, silence included. :meth:`pump` must be called after each callback.
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
        self._discarding = False  # frames until the next flush belong to an interrupted segment
        self._space = asyncio.Event()  # the ring has space again
        self._halted = False
        self.last_audible_end = 0.0  # the monotonic time until which the agent was heard

    # --- called by LiveKit --------------------------------------------------------------------------------------------

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self._discarding:
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
            await self._write(segment, self._resampler_tail())
            self._rate = frame.sample_rate
        if self._resampler is None and self._rate != self._player.rate:
            self._resampler = soxr.ResampleStream(self._rate, self._player.rate, 1, dtype="int16")
        await self._write(segment, pcm if self._resampler is None else self._resampler.resample_chunk(pcm))

    def flush(self) -> None:
        super().flush()
        self._discarding = False
        if self._segments and not self._segments[-1].flushed and self._segments[-1].cut is None:
            segment = self._segments[-1]
            tail = self._resampler_tail()
            self._find_audible(segment, tail)
            self._player.ring.write(tail)
            segment.end = self._player.ring.written
            segment.flushed = True
            self._finish()

    def clear_buffer(self) -> None:
        ring = self._player.ring
        open_ = [s for s in self._segments if s.cut is None]
        if not open_:
            return
        self._discarding = not open_[-1].flushed
        self._resampler = None
        for segment in open_:
            segment.cut = ring.written
        self._player.cut = ring.written
        self._space.set()
        if self._halted:  # no callback will pass the cut
            ring.skip_to(ring.written)
            self._finish()

    def pause(self) -> None:
        super().pause()
        self._player.paused = True

    def resume(self) -> None:
        super().resume()
        self._player.paused = False

    # --- state -------------------------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """A segment has begun and has not ended (it may be paused)."""
        return bool(self._segments)

    @property
    def paused(self) -> bool:
        """Paused: nothing is heard until :meth:`resume`."""
        return self._player.paused

    @property
    def audible_since(self) -> float | None:
        """The monotonic time at which the current segment became audible; None: no segment, or not audible yet."""
        return self._segments[0].audible_at if self._segments else None

    # --- after the callback -----------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Report what was heard since the last call, and end segments that were heard to their end."""
        blocks = self._player.blocks
        while blocks:
            block = blocks.popleft()
            if not block.got and not self._segments:  # nobody speaks: pass the silence of several calls on as one
                while blocks and not blocks[0].got:
                    block = block._replace(played=block.played + blocks.popleft().played)
            self._on_played(self._player.played.take(block.played), block.at)
            self._heard(block)
        self._finish()
        if self._player.ring.free > self._player.rate:
            self._space.set()

    def _heard(self, block: PlayedBlock) -> None:
        rate, stop = self._player.rate, block.start + block.got
        for segment in self._segments:
            low, high = max(block.start, segment.begin), min(stop, segment.end)
            if high <= low:
                continue
            if not segment.started:
                segment.started = True
                ahead = block.at + (low - block.start) / rate - self._clock.now()
                self.on_playback_started(created_at=self._clock.wall() + ahead)
            if segment.dry:
                segment.gaps += 1
                segment.gap_ms += segment.dry / rate * 1000
                segment.dry = 0
            segment.heard = high
            segment.heard_until = self.last_audible_end = block.at + (high - block.start) / rate
            if segment.audible is not None and segment.audible < high and segment.audible_at is None:
                segment.audible_at = block.at + (segment.audible - block.start) / rate
                self._on_audible(segment.audible_at)
        head = self._segments[0] if self._segments else None
        if head is not None and head.started and not head.flushed and not block.held and head.heard == head.end:
            head.dry += block.requested - block.got

    def _finish(self) -> None:
        now = self._clock.now()
        while self._segments:
            segment = self._segments[0]
            over = segment.flushed and segment.heard == segment.end and now >= segment.heard_until
            if segment.cut is not None:
                over = self._player.ring.read >= segment.cut and not self._player.blocks
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

    # --- writing samples ---------------------------------------------------------------------------------------------

    def _find_audible(self, segment: PlaybackSegment, pcm: Int16) -> None:
        """Note the position of the segment's first audible sample, if it is in ``pcm`` (not yet written)."""
        if segment.audible is None:
            loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > AUDIBLE)
            if len(loud):
                segment.audible = self._player.ring.written + int(loud[0])

    async def _write(self, segment: PlaybackSegment, pcm: Int16) -> None:
        self._find_audible(segment, pcm)
        while len(pcm):
            count = self._player.ring.write(pcm)
            segment.end = self._player.ring.written
            pcm = pcm[count:]
            if len(pcm):
                self._space.clear()
                await self._space.wait()
                if segment.cut is not None:
                    return

    def _resampler_tail(self) -> Int16:
        """End the resampler; returns the samples that it still held."""
        resampler, self._resampler = self._resampler, None
        empty = np.zeros(0, np.int16)
        return empty if resampler is None else resampler.resample_chunk(empty, last=True)

    # --- a lost device -----------------------------------------------------------------------------------------------

    def halt(self) -> None:
        """The device is lost and its stream closed: nothing is heard until :meth:`continue_on`."""
        self.pump()
        self._halted = True
        if self._segments and self._player.cut > self._player.ring.read:
            self._player.ring.skip_to(self._player.cut)
            self._finish()

    def continue_on(self, player: Player) -> None:
        """Play on ``player``, a new stream whose rate may differ.

        What the old device had taken but nobody had heard is played again; the samples that wait follow.
        """
        old, self._player = self._player, player
        head = self._segments[0] if self._segments else None
        in_device = round(old.latency_s * old.rate)
        position = old.ring.rewind(max(head.begin, head.heard - in_device)) if head is not None else old.ring.written
        waiting = old.ring.take(old.ring.available)
        if self._segments and not self._segments[-1].flushed:
            tail = self._resampler_tail()
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
        self._space.set()
