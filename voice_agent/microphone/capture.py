"""The microphone's samples: from the device's callback to frames for the session, each with its capture time.

:class:`Capture` is the callback; it fills a ring. :class:`AudioFrontEnd` runs on the event loop: it resamples to
16 kHz, cancels the echo, and hands out frames of 10 ms, or whole windows of the VAD while nobody speaks.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import soxr
from livekit import rtc
from livekit.agents.voice import io

from ..audio.samples import CAPTURED_AT, Int16
from ..clock import Clock
from .audio_processing import FRAME, RATE, AudioProcessing
from .ring import Ring

RING_S = 10.0
CLOCK_BLOCKS = 200  # blocks from which the capture time is estimated: 2 s
LEVEL_FRAMES = 5
SILENT_DBFS = -96.0
VAD_WINDOW = 512  # samples at 16 kHz of one VAD decision: a part of a window brings no decision sooner
MAX_FRAMES = 4  # of 10 ms, handed out as one: a VAD window is complete after three or four


class CapturedBlock(NamedTuple):
    """One call of the microphone's callback: the samples before ``position`` had arrived at ``at`` (monotonic)."""

    position: int
    at: float
    age_s: float  # of the last sample, as the device reports it
    played: int  # samples that the loudspeaker had been given by then


class Capture:
    """The microphone's callback. ``played()`` returns how many samples the loudspeaker has been given so far;
    ``wake()`` tells the event loop that samples have arrived. :meth:`take` runs on the sound system's thread.
    """

    def __init__(self, rate: int, clock: Clock, *, played: Callable[[], int], wake: Callable[[], None]) -> None:
        self._clock = clock
        self._played = played
        self._wake = wake
        self.rate = rate
        self._window = VAD_WINDOW * rate / RATE
        self._woken_at = 0
        self.resting = False  # True: wake the loop only for whole VAD windows
        self.ring = Ring(round(RING_S * rate))
        self.blocks: deque[CapturedBlock] = deque()
        self.xruns = 0
        self.lost = 0  # samples dropped because the ring was full: the event loop stalled for 10 s
        self.called_at = clock.now()

    def take(self, pcm: Int16, age_s: float, xrun: bool) -> None:
        """Take one block; its first sample is ``age_s`` seconds old. ``xrun``: samples were lost before it."""
        now = self._clock.now()
        kept = self.ring.write(pcm)
        self.lost += len(pcm) - kept
        self.xruns += xrun or kept < len(pcm)
        self.called_at = now
        written = self.ring.written
        self.blocks.append(CapturedBlock(written, now, max(0.0, age_s - len(pcm) / self.rate), self._played()))
        if not self.resting or written // self._window > self._woken_at // self._window:
            self._woken_at = written
            self._wake()


class CaptureClock:
    """Computes when a sample of the stream was captured.

    A callback may be late but not early, so the earliest callback of the last 2 s gives the time. The latency that the
    device reports is subtracted: the lowest it reported, for the same reason.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._origins: deque[float] = deque(maxlen=CLOCK_BLOCKS)
        self._ages: deque[float] = deque(maxlen=CLOCK_BLOCKS)
        self._current = True
        self._latency_s = 0.0
        self._origin = 0.0

    def add(self, block: CapturedBlock) -> None:
        """Take one more block into account."""
        self._origins.append(block.at - block.position / self._rate)
        self._ages.append(block.age_s)
        self._current = False

    @property
    def latency_s(self) -> float:
        """The device's latency as it reports it; 0 before the first callback."""
        self._update()
        return self._latency_s

    def at(self, position_s: float) -> float:
        """The monotonic time at which the sample at ``position_s`` of the stream was captured."""
        self._update()
        return self._origin + position_s

    def _update(self) -> None:
        if not self._current:  # once for all blocks that were added since
            self._current = True
            self._latency_s = min(self._ages)
            self._origin = min(self._origins) - self._latency_s


class MicrophoneInput(io.AudioInput):
    """Frames of 10 to 40 ms, 16 kHz, mono. Each carries ``CAPTURED_AT`` in its ``userdata``."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()
        self._attached = True

    def push(self, frame: rtc.AudioFrame) -> None:
        """Hand out ``frame``, unless the session has detached the input."""
        if self._attached:
            self._frames.put_nowait(frame)

    def on_attached(self) -> None:
        self._attached = True

    def on_detached(self) -> None:
        self._attached = False

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


class AudioFrontEnd:
    """Turns the samples of ``capture`` into frames for ``input_``: resampled, processed, with their capture time.

    ``on_frame(pcm, at)`` gets every frame (16 kHz) and the monotonic time of its first sample.
    """

    def __init__(
        self,
        capture: Capture,
        processing: AudioProcessing,
        input_: MicrophoneInput,
        on_frame: Callable[[Int16, float], None] = lambda pcm, at: None,
    ) -> None:
        self.capture = capture
        self.processing = processing
        self._input = input_
        self._on_frame = on_frame
        self.clock = CaptureClock(capture.rate)
        # soxr's "vr" mode gives even steps: 12.5 ms late at 48 kHz; the default mode comes in bursts, 7 to 37 ms late.
        self._resampler = (
            None if capture.rate == RATE else soxr.ResampleStream(capture.rate, RATE, 1, dtype="int16", vr=True)
        )
        self._rest: Int16 = np.zeros(0, np.int16)
        self._far_end: deque[tuple[int, Int16]] = deque()  # what was played: (position behind it, samples)
        self._far_end_position = 0
        self._handed_out = 0  # samples at 16 kHz
        self._powers: deque[float] = deque(maxlen=LEVEL_FRAMES)
        self.muted = False

    def played(self, pcm: Int16) -> None:
        """The loudspeaker's device has been given ``pcm`` (at the loudspeaker's rate)."""
        self._far_end_position += len(pcm)
        if self.processing.aec:
            self._far_end.append((self._far_end_position, pcm))

    @property
    def level_dbfs(self) -> float:
        """The level of the last 50 ms, after processing (also while muted)."""
        power = sum(self._powers) / len(self._powers) if self._powers else 0.0
        return max(SILENT_DBFS, 10 * math.log10(power)) if power > 0 else SILENT_DBFS

    def pump(self, delay_s: float) -> None:
        """Hand out all whole frames that have arrived. ``delay_s``: the loudspeaker's latency."""
        capture, processing = self.capture, self.processing
        blocks = [capture.blocks.popleft() for _ in range(len(capture.blocks))]
        for block in blocks:
            self.clock.add(block)
        if len(blocks) > 1 and not self._audible_before(blocks[-1].played):
            del blocks[:-1]  # no echo, so the order of the blocks does not matter: one call for all costs less
        clean: list[Int16] = []
        for block in blocks:
            pcm = capture.ring.take(block.position - capture.ring.read)
            if self._resampler is not None:
                pcm = self._resampler.resample_chunk(pcm)
            self._feed_far_end(block.played)
            if len(self._rest):
                pcm = np.concatenate([self._rest, pcm])
            whole = len(pcm) // FRAME * FRAME
            for at in range(0, whole, MAX_FRAMES * FRAME):
                piece = pcm[at : min(whole, at + MAX_FRAMES * FRAME)]
                clean.append(processing.near(piece, delay_s + self.clock.latency_s))
                if sum(map(len, clean)) >= MAX_FRAMES * FRAME:
                    self._hand_out(clean)
                    clean = []
            self._rest = pcm[whole:]
        if clean:
            self._hand_out(clean)

    def _audible_before(self, until: int) -> bool:
        """Whether the echo canceller still lacks something that was played before ``until`` and is not silence."""
        return any(end - len(pcm) < until and pcm.any() for end, pcm in self._far_end)

    def _feed_far_end(self, until: int) -> None:
        """Give the echo canceller what was played before ``until``, and no more: no echo of the rest can be in yet."""
        due: list[Int16] = []
        while self._far_end and (begin := self._far_end[0][0] - len(self._far_end[0][1])) < until:
            end, pcm = self._far_end.popleft()
            if end > until:
                self._far_end.appendleft((end, pcm[until - begin :]))
                pcm = pcm[: until - begin]
            due.append(pcm)
        if due:
            self.processing.far(due[0] if len(due) == 1 else np.concatenate(due))

    def _hand_out(self, frames: list[Int16]) -> None:
        pcm = frames[0] if len(frames) == 1 else np.concatenate(frames)
        self._handed_out += len(pcm)
        captured_at = self.clock.at(self._handed_out / RATE) - self.processing.delay_s
        for wave in pcm.astype(np.float32).reshape(-1, FRAME):
            self._powers.append(float(wave @ wave) / FRAME / 32768.0**2)
        if self.muted:
            pcm = np.zeros(len(pcm), np.int16)
        self._on_frame(pcm, captured_at - len(pcm) / RATE)
        frame = rtc.AudioFrame(pcm.tobytes(), RATE, 1, len(pcm))
        frame.userdata[CAPTURED_AT] = captured_at
        self._input.push(frame)
