"""The microphone's half: the callback fills a ring; on the event loop that becomes clean frames, each with the time at
which it was captured: 10 ms a frame, or a whole window of the ears' while nobody speaks."""

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
WINDOW = 200  # callbacks over which the stream is placed on the clock: 2 s
LEVEL_FRAMES = 5
SILENT_DBFS = -96.0
EARS_WINDOW = 512  # samples at 16 kHz that the ears look at: nothing is heard sooner for being told of a part
MOST_FRAMES = 4  # of 10 ms, handed out as one: a window is complete after three or four


class CapturedBlock(NamedTuple):
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
        self._window = EARS_WINDOW * rate / RATE
        self._woken_at = 0
        self.resting = False  # then the loop is woken for whole windows only
        self.ring = Ring(round(RING_S * rate))
        self.marks: deque[CapturedBlock] = deque()
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
        written = self.ring.written
        self.marks.append(CapturedBlock(written, now, max(0.0, age_s - len(pcm) / self.rate), self._far()))
        if not self.resting or written // self._window > self._woken_at // self._window:
            self._woken_at = written
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
        self._known = True
        self._latency_s = 0.0
        self._origin = 0.0

    def arrived(self, mark: CapturedBlock) -> None:
        """One callback more."""
        self._origins.append(mark.at - mark.position / self._rate)
        self._ages.append(mark.age_s)
        self._known = False

    @property
    def latency_s(self) -> float:
        """Of the device, as far as it says so; 0 before the first callback."""
        self._look()
        return self._latency_s

    def at(self, position_s: float) -> float:
        """The monotonic time at which the sample at ``position_s`` of the stream was captured."""
        self._look()
        return self._origin + position_s

    def _look(self) -> None:
        if not self._known:  # once for all callbacks since it was last asked
            self._known = True
            self._latency_s = min(self._ages)
            self._origin = min(self._origins) - self._latency_s


class MicrophoneInput(io.AudioInput):
    """Frames of 10 to 40 ms, 16 kHz, mono. Each carries ``CAPTURED_AT`` in its ``userdata``."""

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


class AudioFrontEnd:
    """Makes frames of what ``capture`` holds: the ears' rate, the processing, the clock."""

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
        capture, processing = self.capture, self.processing
        marks = [capture.marks.popleft() for _ in range(len(capture.marks))]
        for mark in marks:
            self.clock.arrived(mark)
        if len(marks) > 1 and not self._sounds_before(marks[-1].far):
            del marks[:-1]  # no echo, so their order says nothing: all of it in one go, which costs less
        clean: list[Int16] = []
        for mark in marks:
            pcm = capture.ring.take(mark.position - capture.ring.read)
            if self._resampler is not None:
                pcm = self._resampler.resample_chunk(pcm)
            self._feed(mark.far)
            if len(self._rest):
                pcm = np.concatenate([self._rest, pcm])
            whole = len(pcm) // FRAME * FRAME
            for at in range(0, whole, MOST_FRAMES * FRAME):
                piece = pcm[at : min(whole, at + MOST_FRAMES * FRAME)]
                clean.append(processing.near(piece, delay_s + self.clock.latency_s))
                if sum(map(len, clean)) >= MOST_FRAMES * FRAME:
                    self._hand_out(clean)
                    clean = []
            self._rest = pcm[whole:]
        if clean:
            self._hand_out(clean)

    def _sounds_before(self, until: int) -> bool:
        """Whether anything but silence was played before ``until`` that the echo canceller has not been fed yet."""
        return any(end - len(pcm) < until and pcm.any() for end, pcm in self._far)

    def _feed(self, until: int) -> None:
        """Feed the echo canceller what was played before ``until``, and no more: its echo can come in from here on, at
        the earliest."""
        due: list[Int16] = []
        while self._far and (begin := self._far[0][0] - len(self._far[0][1])) < until:
            end, pcm = self._far.popleft()
            if end > until:
                self._far.appendleft((end, pcm[until - begin :]))
                pcm = pcm[: until - begin]
            due.append(pcm)
        if due:
            self.processing.far(due[0] if len(due) == 1 else np.concatenate(due))

    def _hand_out(self, frames: list[Int16]) -> None:
        pcm = frames[0] if len(frames) == 1 else np.concatenate(frames)
        self._made += len(pcm)
        captured_at = self.clock.at(self._made / RATE) - self.processing.delay_s
        for wave in pcm.astype(np.float32).reshape(-1, FRAME):
            self._powers.append(float(wave @ wave) / FRAME / 32768.0**2)
        if self.muted:
            pcm = np.zeros(len(pcm), np.int16)
        self._on_frame(pcm, captured_at - len(pcm) / RATE)
        frame = rtc.AudioFrame(pcm.tobytes(), RATE, 1, len(pcm))
        frame.userdata[CAPTURED_AT] = captured_at
        self._input.push(frame)
