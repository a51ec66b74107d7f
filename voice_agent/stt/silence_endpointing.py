"""The turn detector of an STT that is used alone: a final transcript after a plain silence."""

from __future__ import annotations

from collections.abc import Callable

from ..audio.samples import Int16
from ..turn_events import Discard, EndOfTurn, SpeechStarted, TurnEvent


class SilenceEndpointing:
    """Two windows of speech start a turn, ``silence_s`` of silence ends it. AgentSession then does the turn detection.

    ``threshold``: of the VAD's probability; ``give_up_s``: speech without words is dropped after this silence.
    """

    def __init__(self, silence_s: float = 0.25, *, threshold: float = 0.5, give_up_s: float = 0.7) -> None:
        self._silence_s = silence_s
        self._threshold = threshold
        self._give_up_s = give_up_s
        self._emit: Callable[[TurnEvent], None] = lambda _: None
        self._run = 0
        self._open = False
        self._ended_s = 0.0
        self._text = ""
        self._covers_s = -1.0

    def bind(self, emit: Callable[[TurnEvent], None]) -> None:
        self._emit = emit

    @property
    def in_speech(self) -> bool:
        return self._open

    @property
    def speech_ended_s(self) -> float:
        return self._ended_s

    @property
    def loud_until_s(self) -> float:
        return self._ended_s

    @property
    def wants_confirmation(self) -> bool:
        return False

    def window(self, end_s: float, probability: float, pcm: Int16) -> None:
        speech = probability > self._threshold
        self._run = self._run + 1 if speech else 0
        if (self._open and speech) or self._run >= 2:
            self._ended_s = end_s
        if not self._open and self._run >= 2:
            self._open, self._text, self._covers_s = True, "", -1.0
            self._emit(SpeechStarted(end_s - 2 * len(pcm) / 16_000))
        elif self._open:
            self.advance(end_s)

    def text(self, text: str, covers_s: float, now_s: float) -> None:
        if self._open:
            self._text, self._covers_s = text, covers_s
            self.advance(now_s)

    def advance(self, now_s: float) -> None:
        silence = now_s - self._ended_s
        if not self._open or self._covers_s < self._ended_s or silence < self._silence_s:
            return
        if self._text:
            self._open = False
            self._emit(EndOfTurn(self._text, self._ended_s, silence, self._silence_s, reason="silence"))
        elif silence >= self._give_up_s:
            self._open = False
            self._emit(Discard("no words"))

    async def aclose(self) -> None:
        return None
