"""The agent's words as they are spoken: the voice's own word times, counted from when the device began to play."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from livekit import rtc
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString
from livekit.agents.voice import io

from ..clock import SYSTEM, Clock, from_wall
from .events import AgentFinished, AgentWords, Event


@dataclass(slots=True)
class _Speech:
    """What lies between two flushes. ``words``: text (with its spaces) and start in seconds, those still to come."""

    words: deque[tuple[str, float]] = field(default_factory=deque)
    text: str = ""
    pushed_s: float = 0.0
    flushed: bool = False


class SpokenWords(io.AudioOutput):
    """Put before a device: passes all sound on, and tells each word when it starts to be heard.

    A pause of the device stops the words too. What was cut off is never told. A voice without word times says nothing
    here; its words are in the turn when that is over.
    """

    def __init__(self, device: io.AudioOutput, emit: Callable[[Event], None], clock: Clock = SYSTEM) -> None:
        super().__init__(
            label="words", capabilities=io.AudioOutputCapabilities(pause=device.can_pause), next_in_chain=device
        )
        self._emit = emit
        self._clock = clock
        self.last = ""  # the words of the last speech, also those that were cut off
        self._speeches: deque[_Speech] = deque()  # the first is the one that is heard, if it has begun
        self._began: float | None = None  # when the first one's sample 0 was heard, pauses taken out
        self._paused_at: float | None = None
        self._told = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def _device(self) -> io.AudioOutput:
        assert self.next_in_chain is not None
        return self.next_in_chain

    @property
    def sample_rate(self) -> int | None:
        return self._device.sample_rate

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._speeches or self._speeches[-1].flushed:
            self._speeches.append(_Speech())
        speech = self._speeches[-1]
        for text in frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, ()):
            start = text.start_time if isinstance(text, TimedString) else None
            speech.text += str(text)
            speech.words.append((str(text), start if isinstance(start, float) else speech.pushed_s))
        speech.pushed_s += frame.duration
        await self._device.capture_frame(frame)
        if self._timer is None:
            self._due()

    def flush(self) -> None:
        super().flush()
        if self._speeches:
            self._speeches[-1].flushed = True
        self._device.flush()

    def clear_buffer(self) -> None:
        if self._speeches:
            self._speeches[-1].flushed = True
        self._device.clear_buffer()

    def pause(self) -> None:
        super().pause()  # passes it on
        if self._paused_at is None:
            self._paused_at = self._clock.now()
            self._stop()

    def resume(self) -> None:
        super().resume()
        if self._paused_at is not None:
            if self._began is not None:
                self._began += self._clock.now() - max(self._paused_at, self._began)
            self._paused_at = None
            self._due()

    def on_playback_started(self, *, created_at: float) -> None:
        super().on_playback_started(created_at=created_at)
        self._began = from_wall(created_at, self._clock)
        self._due()

    def on_playback_finished(
        self, *, playback_position: float, interrupted: bool, synchronized_transcript: str | None = None
    ) -> None:
        self._stop()
        if self._speeches:
            speech = self._speeches.popleft()
            self._tell(speech, playback_position if interrupted else float("inf"))
            self.last = speech.text.strip() or self.last
        self._began = None
        if self._told:
            self._told = False
            self._emit(AgentFinished())
        super().on_playback_finished(
            playback_position=playback_position,
            interrupted=interrupted,
            synchronized_transcript=synchronized_transcript,
        )

    def _due(self) -> None:
        """Tell what has been reached, and wake up for the next word."""
        self._stop()
        if self._began is None or self._paused_at is not None or not self._speeches:
            return
        speech, at_s = self._speeches[0], self._clock.now() - self._began
        self._tell(speech, at_s)
        if speech.words:
            self._timer = asyncio.get_running_loop().call_later(speech.words[0][1] - at_s, self._due)

    def _tell(self, speech: _Speech, until_s: float) -> None:
        words = []
        while speech.words and speech.words[0][1] <= until_s:
            words.append(speech.words.popleft()[0])
        if text := "".join(words):
            self._told = True
            self._emit(AgentWords(text))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
