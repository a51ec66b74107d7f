"""Speaks the text of one reply, while it is still written, into LiveKit's audio emitter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from livekit.agents import tts
from livekit.agents.types import TimedString

from .. import trace
from ..audio.samples import Int16
from ..budget.latency_policy import few_words_first
from ..clock import Clock
from .chunker import FEW, Chunk, Chunker, ChunkLimits
from .normalize import speakable
from .synthesizer import AudioChunk
from .trim import SilenceTrimmer
from .word_timing import WordTimes

LOW_BUFFER_S = 0.8
"""With less audio ahead than this the next clause is spoken, with more the next sentence is waited for. The longest
chunk needs ~0.3 s until its first audio; the rest is for a busy machine."""
PROVISIONAL_S = 0.7
"""How much audio is made of a reply that may be dropped; the next chunk needs less than that until its first audio."""
FIRST_AUDIO_S = 0.3
"""Until the first audio of the longest clause (see LOW_BUFFER_S): what a first chunk of few words must last for."""


@dataclass(frozen=True, slots=True)
class TimedChunk:
    """A chunk of audio, and when it was ready (seconds of the clock)."""

    chunk: AudioChunk
    ready_at: float


class ChunkSource(Protocol):
    """What a reply is spoken with: a :class:`~.piper_tts.PiperTTS`."""

    language: str
    """espeak's name of the voice's language."""
    limits: ChunkLimits
    clock: Clock

    @property
    def sample_rate(self) -> int: ...

    def synthesize_chunk(
        self, text: str, *, low_latency: bool, due_at: float | None = None
    ) -> AsyncGenerator[TimedChunk, None]: ...


class ReplySpeech:
    """Speaks what ``chunker`` gives into ``emitter``, until the chunker is exhausted.

    ``arrived`` is set whenever the chunker got text or was closed; ``on_start`` is called before the first chunk.
    """

    def __init__(
        self,
        source: ChunkSource,
        emitter: tts.AudioEmitter,
        chunker: Chunker,
        arrived: asyncio.Event,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._source, self._emitter, self._chunker, self._arrived = source, emitter, chunker, arrived
        self._on_start = on_start
        self._clock = source.clock
        self._plays_until_s = self._clock.now()
        self._started = self._audible = self._joined = False
        self._first_text_at: float | None = None
        self._made_s = 0.0
        self._captions: list[tuple[str, float, float]] = []  # text, start and end in seconds of this reply's audio

    async def run(self) -> None:
        """Raises what ``source.synthesize_chunk`` raises."""
        while not self._chunker.exhausted:
            if self._made_s >= PROVISIONAL_S:
                await trace.released()
            ahead_s = self._plays_until_s - self._clock.now()
            low_buffer = ahead_s < LOW_BUFFER_S
            self._arrived.clear()
            few = self._few()
            if (chunk := self._chunker.take(low_buffer=low_buffer, few=few)) is not None:
                if few and chunk.joined:  # else a clause ends there anyway
                    trace.degradation_step("small_first", len(chunk.text.split()))
                await self._say(chunk, low_buffer=low_buffer)
            elif not self._chunker.exhausted:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if low_buffer else ahead_s - LOW_BUFFER_S):
                        await self._arrived.wait()

    def _few(self) -> bool:
        """Whether the first chunk may have fewer words than usual: the turn is late, and no gap will follow."""
        if not self._chunker.at_start or not self._chunker.pending_chars:
            return False
        now, written = self._clock.now(), self._chunker.pending_words
        if self._first_text_at is None:
            self._first_text_at = now
        if not trace.at_risk():
            return False
        if self._chunker.closed:
            rate = float("inf")  # all of it is written
        elif written < 2 or now <= self._first_text_at:
            return False  # two words and the time between them give a rate
        else:
            rate = (written - 1) / (now - self._first_text_at)
        return few_words_first(
            FEW.breath_words,
            next_words=self._source.limits.low_buffer_words,
            written_per_s=rate,
            first_sound_s=FIRST_AUDIO_S,
        )

    def finish(self) -> None:
        """The reply's text ended, and it was not empty."""
        if not self._audible:  # LiveKit takes text without any audio for a failure
            self._emitter.push(bytes(2 * (self._source.sample_rate // 100)))
        self._write_captions()

    async def _say(self, chunk: Chunk, *, low_buffer: bool) -> None:
        if not (text := speakable(chunk.text, self._source.language)):
            self._captions.append((chunk.text, self._made_s, self._made_s))  # written, but nothing of it is spoken
            return
        if not self._started:
            self._started = True
            self._on_start()
            trace.mark("chunk_ready", self._clock.now())
        rate = self._source.sample_rate
        trimmer = SilenceTrimmer(
            rate, starts_reply=not self._audible, joins_previous=self._joined, joins_next=chunk.joined
        )
        words = WordTimes(chunk.text, self._made_s)
        due_at = self._plays_until_s if self._audible else None
        async with contextlib.aclosing(
            self._source.synthesize_chunk(text, low_latency=low_buffer, due_at=due_at)
        ) as made:
            async for timed in made:
                audio = timed.chunk
                words.sentence(audio.groups, audio.phonemes, audio.first_group, audio.samples.size / rate)
                samples = trimmer.push(audio.samples, last=audio.last)
                if samples.size:
                    self._captions += words.take(skipped_s=trimmer.skipped / rate)
                self._emit(samples, timed.ready_at)
        self._captions += words.rest(self._made_s)
        self._joined = chunk.joined

    def _emit(self, samples: Int16, ready_at: float) -> None:
        if not samples.size:
            return
        if not self._audible:
            self._audible = True
            trace.mark("tts_first_audio", ready_at)
        self._write_captions()
        self._emitter.push(samples.tobytes())
        self._emitter.flush()  # it fills frames of up to 200 ms, and keeps 10 back: the rest of a chunk would wait
        now = self._clock.now()
        self._made_s += samples.size / self._source.sample_rate
        self._plays_until_s = max(self._plays_until_s, now) + samples.size / self._source.sample_rate

    def _write_captions(self) -> None:
        """Give the emitter the words with their times. They go before their audio: LiveKit attaches them to frames."""
        if self._captions:
            self._emitter.push_timed_transcript(
                [TimedString(t, start_time=a, end_time=b) for t, a, b in self._captions]
            )
            self._captions.clear()
