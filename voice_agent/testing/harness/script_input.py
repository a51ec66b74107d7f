"""The user's side of the call harness: recorded speech in, in real time, as LiveKit's AudioInput."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from ...audio.resampling import resample
from ...audio.samples import Int16
from ...audio.timeline import RECORD_RATE, USER_RATE, Timeline
from ...config import AudioConfig
from ...microphone.audio_processing import AudioProcessing

FRAME = 160  # samples: 10 ms of the user's 16 kHz
GRID = 512  # items start on a VAD window, so that an end of speech is the same on the timeline and in the clip
ECHO_FRAME = FRAME * RECORD_RATE // USER_RATE


@dataclass(frozen=True, slots=True)
class SimulatedEcho:
    """The agent's own sound in the user's microphone, ``delay_s`` later and ``gain_db`` louder (negative: softer).

    ``delay_s`` is at least two frames (20 ms): the sound of the present frame is not known yet. ``cancelled``: the echo
    canceller of the real microphone removes it; without, the STT hears all of it.
    """

    delay_s: float = 0.08
    gain_db: float = -6.0
    cancelled: bool = True

    def __post_init__(self) -> None:
        if not 0.02 <= self.delay_s <= 5.0:
            raise ValueError(f"an echo is 0.02 to 5 s late, not {self.delay_s}")


class ScriptInput(io.AudioInput):
    """The user's microphone: silence, until :meth:`say` gives it speech. Run :meth:`feed` as a task.

    ``echo``: adds the agent's own sound. Only the agent's STT hears it: the recording's left channel stays what the
    user said.
    """

    def __init__(self, timeline: Timeline, echo: SimulatedEcho | None = None) -> None:
        super().__init__(label="script")
        self._timeline = timeline
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()
        self._spoken: list[tuple[int, Int16]] = []  # not spoken to the end yet: first sample, 16 kHz
        self._echo = echo
        self._canceller: AudioProcessing | None = None
        if echo is not None and echo.cancelled:
            sound = AudioConfig(aec=True, noise_suppression=False, gain_control=False)
            self._canceller = AudioProcessing(sound, RECORD_RATE)
        self.position = 0  # samples spoken so far
        self.worst_lag_s = 0.0

    def say(self, pcm: Int16, *, at_s: float | None = None) -> int:
        """Speak 16 kHz mono ``pcm``. Returns the sample (of the user's 16 kHz) it begins at.

        Without ``at_s``: at the next window; RuntimeError while something else is still spoken. With ``at_s`` (seconds
        on the timeline): at that window or the next possible one, over whatever else is spoken then.
        """
        soonest = (self.position // GRID + 2) * GRID
        if at_s is None:
            if self.speaking:
                raise RuntimeError("the user is still speaking; one item at a time (or say when, with at_s)")
            start = soonest
        else:
            start = max(soonest, -(-round(at_s * USER_RATE) // GRID) * GRID)
        self._spoken.append((start, pcm))
        self._timeline.place_user(start, pcm)
        return start

    @property
    def speaking(self) -> bool:
        """Something has not been spoken to its end yet (or not begun)."""
        return any(self.position < start + len(pcm) for start, pcm in self._spoken)

    async def feed(self) -> None:
        """Give out 10 ms frames, each when its last sample has been spoken. After a stall the missed frames follow at
        once, as from a sound card's buffer: the timeline itself never lags."""
        timeline = self._timeline
        while True:
            due = timeline.started_at + (self.position + FRAME) / USER_RATE
            wait = due - timeline.clock.now()
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
        at = (self.position - FRAME) * RECORD_RATE // USER_RATE  # the last frame whose sound is final
        self._canceller.far(
            self._timeline.agent.read(at, at + ECHO_FRAME) if at >= 0 else np.zeros(ECHO_FRAME, np.int16)
        )
        return self._canceller.near(near, self._echo.delay_s)

    def _echo_frame(self, echo: SimulatedEcho) -> Int16:
        """The agent's sound one delay ago. A frame more on either side keeps resampling free of clicks."""
        start = self.position * RECORD_RATE // USER_RATE - round(echo.delay_s * RECORD_RATE) - ECHO_FRAME
        wide = np.zeros(3 * ECHO_FRAME, np.int16)
        wide[max(0, -start) :] = self._timeline.agent.read(max(0, start), max(0, start + len(wide)))[-len(wide) :]
        soft = np.clip(wide * 10 ** (echo.gain_db / 20), -32768, 32767).astype(np.int16)
        return resample(soft, RECORD_RATE, USER_RATE)[FRAME : 2 * FRAME]

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()
