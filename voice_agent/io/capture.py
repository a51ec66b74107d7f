"""The microphone's half: the callback fills a ring; on the event loop that becomes clean 10 ms frames, each with the
time at which it was captured."""

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

from ..clock import Clock
from ..decisions import CAPTURED_AT, Int16
from .echo import FRAME, RATE, Processing
from .ring import Ring

RING_S = 10.0
WINDOW = 200  # callbacks over which the stream is placed on the clock: 2 s
LEVEL_FRAMES = 5
SILENT_DBFS = -96.0


class Taken(NamedTuple):
    """One call of the microphone's callback: the samples before ``position`` had come in at ``at`` (monotonic)."""

    position: int
    at: float
    age_s: float  # of the last sample, as far as the device says so
    far: int  # so many samples had been played by then


class Capture:
    """The callback's half. ``far()``: how much has been played; ``wake()``: the event loop has something to do."""

    def __init__(self, rate: int, clock: Clock, *, far: Callable[[], int], wake: Callable[[], None]) -> None:
        self._clock = clock
        self._far = far
        self._wake = wake
        self.rate = rate
        self.ring = Ring(round(RING_S * rate))
        self.marks: deque[Taken] = deque()
        self.xruns = 0
        self.lost = 0  # samples for which the ring had no room: the event loop stalled for 10 s
        self.called_at = clock.now()

    def take(self, pcm: Int16, age_s: float, xrun: bool) -> None:
        """Take one block, whose first sample is ``age_s`` old."""
        now = self._clock.now()
        kept = self.ring.write(pcm)
        self.lost += len(pcm) - kept
        self.xruns += xrun or kept < len(pcm)
        self.called_at = now
        self.marks.append(Taken(self.ring.written, now, max(0.0, age_s - len(pcm) / self.rate), self._far()))
        self._wake()


class CaptureClock:
    """When a sample of the stream was captured.

    A callback is late, never early, so the earliest of the last 2 s counts; what the device says of its own latency is
    taken off (the least it said, for the same reason).
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._origins: deque[float] = deque(maxlen=WINDOW)
        self._ages: deque[float] = deque(maxlen=WINDOW)
        self.latency_s = 0.0
        self._origin = 0.0

    def arrived(self, mark: Taken) -> None:
        """One callback more."""
        self._origins.append(mark.at - mark.position / self._rate)
        self._ages.append(mark.age_s)
        self.latency_s = min(self._ages)
        self._origin = min(self._origins) - self.latency_s

    def at(self, position_s: float) -> float:
        """The monotonic time at which the sample at ``position_s`` of the stream was captured."""
        return self._origin + position_s


class MicrophoneInput(io.AudioInput):
    """Frames of 10 ms, 16 kHz, mono. Each carries ``CAPTURED_AT`` in its ``userdata``."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()
        self._attached = True

    def push(self, frame: rtc.AudioFrame) -> None:
        """Hand out ``frame``, unless nobody listens."""
        if self._attached:
            self._frames.put_nowait(frame)

    def on_attached(self) -> None:
        self._attached = True

    def on_detached(self) -> None:
        self._attached = False

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


class Front:
    """Makes frames of what ``capture`` holds: the ears' rate, the processing, the clock."""

    def __init__(
        self,
        capture: Capture,
        processing: Processing,
        input_: MicrophoneInput,
        on_frame: Callable[[Int16, float], None] = lambda pcm, at: None,
    ) -> None:
        self.capture = capture
        self.processing = processing
        self._input = input_
        self._on_frame = on_frame
        self.clock = CaptureClock(capture.rate)
        # "vr" is soxr's mode of even steps: 12.5 ms late at 48 kHz, where the plain one comes in gushes 7 to 37 ms late
        self._resampler = (
            None if capture.rate == RATE else soxr.ResampleStream(capture.rate, RATE, 1, dtype="int16", vr=True)
        )
        self._rest: Int16 = np.zeros(0, np.int16)
        self._far: deque[tuple[int, Int16]] = deque()
        self._far_end = 0
        self._made = 0  # samples of the ears' rate that were handed out
        self._powers: deque[float] = deque(maxlen=LEVEL_FRAMES)
        self.muted = False

    def played(self, pcm: Int16) -> None:
        """The loudspeaker has been handed ``pcm``."""
        self._far_end += len(pcm)
        if self.processing.aec:
            self._far.append((self._far_end, pcm))

    @property
    def level_dbfs(self) -> float:
        """Of the last 50 ms, after processing, muted or not."""
        power = sum(self._powers) / len(self._powers) if self._powers else 0.0
        return max(SILENT_DBFS, 10 * math.log10(power)) if power > 0 else SILENT_DBFS

    def pump(self, delay_s: float) -> None:
        """Hand out all whole frames that have come in. ``delay_s``: of the loudspeaker."""
        capture = self.capture
        while capture.marks:
            mark = capture.marks.popleft()
            self.clock.arrived(mark)
            pcm = capture.ring.take(mark.position - capture.ring.read)
            if self._resampler is not None:
                pcm = self._resampler.resample_chunk(pcm)
            # What was played before this was captured, and no more: its echo can be in here, at the earliest.
            while self._far and self._far[0][0] <= mark.far:
                self.processing.far(self._far.popleft()[1])
            self._rest = np.concatenate([self._rest, pcm])
            while len(self._rest) >= FRAME:
                frame, self._rest = self._rest[:FRAME], self._rest[FRAME:]
                self._hand_out(self.processing.near(frame, delay_s + self.clock.latency_s))

    def _hand_out(self, pcm: Int16) -> None:
        self._made += FRAME
        captured_at = self.clock.at(self._made / RATE) - self.processing.delay_s
        wave = pcm.astype(np.float32)
        self._powers.append(float(wave @ wave) / FRAME / 32768.0**2)
        if self.muted:
            pcm = np.zeros(FRAME, np.int16)
        self._on_frame(pcm, captured_at - FRAME / RATE)
        frame = rtc.AudioFrame(pcm.tobytes(), RATE, 1, FRAME)
        frame.userdata[CAPTURED_AT] = captured_at
        self._input.push(frame)
