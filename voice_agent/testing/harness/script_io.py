"""The script end: recorded speech in, in real time, and an ear that knows when each sample of the reply is heard.

:class:`ScriptInput` and :class:`ScriptOutput` are LiveKit's AudioInput and AudioOutput over one
:class:`~.line.Timeline`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from ...audio.heard_words import HeardWords
from ...audio.resampling import resample
from ...audio.samples import Int16
from ...audio.timeline import AUDIBLE, RECORD_RATE, USER_RATE, Timeline
from ...config import AudioConfig
from ...microphone.audio_processing import AudioProcessing

FRAME = 160  # samples: 10 ms of the user's 16 kHz
GRID = 512  # items start on a VAD window, so that an end of speech is the same on the line and in the clip
ECHO_FRAME = FRAME * RECORD_RATE // USER_RATE


@dataclass(frozen=True, slots=True)
class Echo:
    """The agent's own sound, come back into the microphone: ``delay_s`` later, ``gain_db`` louder (negative: softer).

    At least two frames (20 ms) late: what is heard in the present one is not known yet. ``cancelled``: the echo
    canceller of the real microphone (:mod:`.echo`) works on it; without, the ears hear all of it.
    """

    delay_s: float = 0.08
    gain_db: float = -6.0
    cancelled: bool = True

    def __post_init__(self) -> None:
        if not 0.02 <= self.delay_s <= 5.0:
            raise ValueError(f"an echo is 0.02 to 5 s late, not {self.delay_s}")


class ScriptInput(io.AudioInput):
    """The user's microphone: silence, until :meth:`say` gives it speech. Run :meth:`feed` as a task.

    ``echo``: the agent is heard in it too. It goes to the agent's ears alone: the recording's left channel stays what
    the user said.
    """

    def __init__(self, line: Timeline, echo: Echo | None = None) -> None:
        super().__init__(label="script")
        self._line = line
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()
        self._spoken: list[tuple[int, Int16]] = []  # what is not over yet: first sample, 16 kHz
        self._echo = echo
        self._canceller: AudioProcessing | None = None
        if echo is not None and echo.cancelled:
            sound = AudioConfig(aec=True, noise_suppression=False, gain_control=False)
            self._canceller = AudioProcessing(sound, RECORD_RATE)
        self.position = 0  # samples spoken so far
        self.worst_lag_s = 0.0

    def say(self, pcm: Int16, *, at_s: float | None = None) -> int:
        """Speak 16 kHz mono ``pcm``. Returns the sample (of the user's 16 kHz) it begins at.

        Without ``at_s``: as soon as the line comes to the next window; RuntimeError while something else is still
        spoken. With ``at_s`` (seconds on the line): then, or as soon after as it can, on the next window, over
        whatever else is spoken at that time.
        """
        soonest = (self.position // GRID + 2) * GRID
        if at_s is None:
            if self.speaking:
                raise RuntimeError("the user is still speaking; one item at a time (or say when, with at_s)")
            start = soonest
        else:
            start = max(soonest, -(-round(at_s * USER_RATE) // GRID) * GRID)
        self._spoken.append((start, pcm))
        self._line.place_user(start, pcm)
        return start

    @property
    def speaking(self) -> bool:
        """Something has not been spoken to its end yet (or not begun)."""
        return any(self.position < start + len(pcm) for start, pcm in self._spoken)

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
            self._frames.put_nowait(rtc.AudioFrame(self._next_frame().tobytes(), USER_RATE, 1, FRAME))
            self.position += FRAME

    def _next_frame(self) -> Int16:
        mixed = np.zeros(FRAME, np.int32)
        for start, pcm in self._spoken:
            offset = self.position - start
            piece = pcm[max(0, offset) : max(0, offset + FRAME)]
            begin = max(0, -offset)
            mixed[begin : begin + len(piece)] += piece
        self._spoken = [(start, pcm) for start, pcm in self._spoken if start + len(pcm) > self.position]
        if self._echo is not None:
            mixed += self._echo_frame(self._echo)
        near = np.clip(mixed, -32768, 32767).astype(np.int16)
        if self._echo is None or self._canceller is None:
            return near
        at = (self.position - FRAME) * RECORD_RATE // USER_RATE  # the last frame whose sound cannot be taken back
        self._canceller.far(self._line.agent.read(at, at + ECHO_FRAME) if at >= 0 else np.zeros(ECHO_FRAME, np.int16))
        return self._canceller.near(near, self._echo.delay_s)

    def _echo_frame(self, echo: Echo) -> Int16:
        """What the agent was heard to say one delay ago; a frame more on either side, so that no edge is heard."""
        start = self.position * RECORD_RATE // USER_RATE - round(echo.delay_s * RECORD_RATE) - ECHO_FRAME
        wide = np.zeros(3 * ECHO_FRAME, np.int16)
        wide[max(0, -start) :] = self._line.agent.read(max(0, start), max(0, start + len(wide)))[-len(wide) :]
        soft = np.clip(wide * 10 ** (echo.gain_db / 20), -32768, 32767).astype(np.int16)
        return resample(soft, RECORD_RATE, USER_RATE)[FRAME : 2 * FRAME]

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


@dataclass(slots=True)
class _Segment:
    """What lies between two flushes. Times are monotonic; they move on while the output is paused."""

    start: float
    until: float  # when the last sample handed in so far has been heard
    pushed_s: float = 0.0
    flushed: bool = False
    started: bool = False
    audible_at: float | None = None
    audible_told: bool = False
    gaps: int = 0
    gap_ms: float = 0.0
    words: HeardWords = field(default_factory=HeardWords)


class ScriptOutput(io.AudioOutput):
    """The user's ear: plays in real time. ``on_audible(at)``: the first audible sample of a segment is heard at ``at``.

    ``on_gaps(count, total_ms)``: at the end of a segment, how often it ran dry between its first and last sample.

    Segments that are handed in back to back are heard one after the other, each with its own start and end. While
    paused nothing is heard; :meth:`resume` goes on at the very sample. Everything is counted in samples: where the
    reply stopped, and the words heard until there, are what the recording holds.
    """

    def __init__(
        self, line: Timeline, *, on_audible: Callable[[float], None], on_gaps: Callable[[int, float], None]
    ) -> None:
        super().__init__(label="script", capabilities=io.AudioOutputCapabilities(pause=True), sample_rate=None)
        self._line = line
        self._on_audible = on_audible
        self._on_gaps = on_gaps
        self._segments: deque[_Segment] = deque()  # the first one is heard, the others wait for their turn
        self._pieces: deque[tuple[float, Int16, int]] = deque()  # not heard to the end yet: start, samples, rate
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
        """Nothing is heard until :meth:`resume`."""
        return self._paused_at is not None

    @property
    def audible_since(self) -> float | None:
        """When the present segment was first heard (monotonic); None if none is, or nothing audible came yet."""
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
            self._line.place_agent(start, pcm, frame.sample_rate)
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
        self._line.cut_agent(now)
        self._pieces.clear()
        while self._segments:
            self._end(interrupted=True)

    def pause(self) -> None:
        super().pause()
        if self._paused_at is not None:
            return
        self._paused_at = now = self._line.clock.now()
        self._line.cut_agent(now)
        self.last_audible_end = min(self.last_audible_end, now)
        self._schedule()

    def resume(self) -> None:
        super().resume()
        if self._paused_at is None:
            return
        since, now = self._paused_at, self._line.clock.now()
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
                self._line.place_agent(at, pcm[heard:], rate)
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
        """The present, which stands still while paused."""
        return self._line.clock.now() if self._paused_at is None else self._paused_at

    def _tell(self) -> None:
        """The first segment has its turn: what it has begun is reported."""
        if not self._segments or self._paused_at is not None:
            return
        head = self._segments[0]
        if not head.started:
            head.started = True
            self.on_playback_started(created_at=self._line.clock.wall())
        if head.audible_at is not None and not head.audible_told:
            head.audible_told = True
            self._on_audible(head.audible_at)

    def _schedule(self) -> None:
        """The first segment's end, if it has one and time goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._segments and self._segments[0].flushed and self._paused_at is None:
            wait = max(0.0, self._segments[0].until - self._line.clock.now())
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
