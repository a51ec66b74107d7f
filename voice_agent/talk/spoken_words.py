"""Emits the agent's words when they are heard: the word times of the TTS, counted from the start of playback."""

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
    """The audio between two flushes. ``words``: those not heard yet, each with its spaces and its start in seconds."""

    words: deque[tuple[str, float]] = field(default_factory=deque)
    text: str = ""
    pushed_s: float = 0.0
    flushed: bool = False


class SpokenWords(io.AudioOutput):
    """An audio output in front of ``device``: passes all frames on, and emits each word when it starts to be heard.

    A pause of the device pauses the words too. Words that were cut off are not emitted. A TTS without word times emits
    nothing here; its words are in the turn's row.
    """

    def __init__(self, device: io.AudioOutput, emit: Callable[[Event], None], clock: Clock = SYSTEM) -> None:
        super().__init__(
            label="words", capabilities=io.AudioOutputCapabilities(pause=device.can_pause), next_in_chain=device
        )
        self._emit = emit
        self._clock = clock
        self.last = ""  # all words of the last speech, also those that were cut off
        self._speeches: deque[_Speech] = deque()  # the first one is playing, if it has started
        self._began: float | None = None  # the monotonic time of its sample 0, shifted by the pauses
        self._paused_at: float | None = None
        self._emitted = False
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
            self.emit_due()

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
            self._stop_timer()

    def resume(self) -> None:
        super().resume()
        if self._paused_at is not None:
            if self._began is not None:
                self._began += self._clock.now() - max(self._paused_at, self._began)
            self._paused_at = None
            self.emit_due()

    def on_playback_started(self, *, created_at: float) -> None:
        super().on_playback_started(created_at=created_at)
        self._began = from_wall(created_at, self._clock)
        self.emit_due()

    def on_playback_finished(
        self, *, playback_position: float, interrupted: bool, synchronized_transcript: str | None = None
    ) -> None:
        self._stop_timer()
        if self._speeches:
            speech = self._speeches.popleft()
            self._emit_until(speech, playback_position if interrupted else float("inf"))
            self.last = speech.text.strip() or self.last
        self._began = None
        if self._emitted:
            self._emitted = False
            self._emit(AgentFinished())
        super().on_playback_finished(
            playback_position=playback_position,
            interrupted=interrupted,
            synchronized_transcript=synchronized_transcript,
        )

    def emit_due(self) -> None:
        """Emit the words that have started, and set the timer for the next one."""
        self._stop_timer()
        if self._began is None or self._paused_at is not None or not self._speeches:
            return
        speech, at_s = self._speeches[0], self._clock.now() - self._began
        self._emit_until(speech, at_s)
        if speech.words:
            self._timer = asyncio.get_running_loop().call_later(speech.words[0][1] - at_s, self.emit_due)

    def _emit_until(self, speech: _Speech, until_s: float) -> None:
        words = []
        while speech.words and speech.words[0][1] <= until_s:
            words.append(speech.words.popleft()[0])
        if text := "".join(words):
            self._emitted = True
            self._emit(AgentWords(text))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
