"""A doubled TTS: the real chunks, silence trimming and pacing of :class:`PiperTTS`; only its sound is synthetic."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ...clock import SYSTEM, Clock
from ...errors import SpeechError
from ...tts import AudioChunk, ChunkLimits, Delivery, PiperTTS, Stop, TimedChunk
from .deviations import Deviations
from .synthetic_speech import spoken

if TYPE_CHECKING:
    from piper.config import PiperConfig

FIRST_S, PIECE_S = 0.045, 0.4  # until the first piece sounds (docs/tts.md); sound in a piece
SPEED = 20.0  # seconds of sound made in one


@dataclass(frozen=True, slots=True)
class ScriptedVoiceConfig:
    """What :class:`PiperTTS` reads of a Piper voice's configuration."""

    sample_rate: int = 22_050
    espeak_voice: str = "en-us"
    num_speakers: int = 1
    default_speaker_id: int = 0


class ScriptedVoice:
    """Makes the sound of a text at once; see :func:`~voice_agent.testing.doubles.synthetic_speech.spoken`."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]:
        if not re.search(r"\w", text):
            yield AudioChunk(np.zeros(self.sample_rate // 10, np.int16), True)
            return
        pcm = spoken(text, rate=self.sample_rate).pcm
        size = round(PIECE_S * self.sample_rate)
        for start in range(0, len(pcm), size):
            yield AudioChunk(pcm[start : start + size], start + size >= len(pcm))


class ScriptedTTS(PiperTTS):
    """Speaks with a doubled voice, for any ``AgentSession(tts=ScriptedTTS(), tts_text_transforms=None)``.

    The first sound of a text comes ``first_s`` after its request. ``expected``: whole replies; :meth:`verify` raises
    ScriptError for chunks that are in none of them and replies of which nothing was spoken. ``fails_on``: a regular
    expression; a chunk that matches raises SpeechError. ``said``: the chunks.
    """

    def __init__(
        self,
        expected: Sequence[str] | None = None,
        *,
        first_s: float = FIRST_S,
        fails_on: str | None = None,
        limits: ChunkLimits | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(limits=limits, config=cast("PiperConfig", ScriptedVoiceConfig()), clock=clock)
        self.voice = self.script = ScriptedVoice(self.sample_rate)
        self._first_s = first_s
        self._fails_on = None if fails_on is None else re.compile(fails_on, re.IGNORECASE)
        self._expected = None if expected is None else list(expected)
        self.said: list[str] = []

    @property
    def provider(self) -> str:
        return "voice_agent.testing.doubles"

    async def load(self) -> None:
        """There is nothing to load."""

    def prewarm(self) -> None:
        """There is nothing to warm."""

    async def synthesize_chunk(
        self, text: str, *, low_latency: bool, due_at: float | None = None
    ) -> AsyncGenerator[TimedChunk, None]:
        self.said.append(text)
        await asyncio.sleep(self._first_s)
        if self._fails_on is not None and self._fails_on.search(text):
            raise SpeechError(f"the scripted voice fails on {text!r}, as it was told to")
        for piece in self.script.speak(text):
            yield TimedChunk(piece, self.clock.now())
            await asyncio.sleep(len(piece.samples) / self.sample_rate / SPEED)

    def verify(self) -> None:
        """Raise ScriptError if something else was spoken than expected (without ``expected``: never)."""
        if self._expected is None:
            return
        notes = Deviations("the TTS")
        wanted = [_words(reply) for reply in self._expected]
        for chunk in self.said:
            if not any(_words(chunk) in reply for reply in wanted):
                notes.unexpected(f"{chunk!r}", "; ".join(repr(r) for r in self._expected) or "nothing to say")
        spoken_words = [_words(chunk) for chunk in self.said]
        notes.left_over(
            [repr(r) for r, words in zip(self._expected, wanted, strict=True) if not _any_in(spoken_words, words)]
        )
        notes.check()


def _any_in(chunks: Sequence[str], reply: str) -> bool:
    return any(chunk in reply for chunk in chunks)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
