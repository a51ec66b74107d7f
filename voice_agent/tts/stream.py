"""Piper as a LiveKit TTS that speaks its first clause while the rest is still being written.

>>> session = AgentSession(tts=PiperTTS(), tts_text_transforms=None, ...)  # doctest: +SKIP

``tts_text_transforms=None``, because LiveKit's Markdown filter holds a word back until the next one and an emphasis
until its end; :func:`.spoken.speakable` does that work chunk by chunk, when it costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Never, Protocol

import numpy as np
from livekit.agents import APIConnectOptions, APIError, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, TimedString
from numpy.typing import NDArray

from .. import trace as probe
from ..budget.latency_policy import few_words_first
from ..clock import SYSTEM, Clock
from ..config import models
from ..errors import VoiceAgentError
from ..livekit_compat.streams import TtsStream
from .chunker import FEW, Chunk, Chunker, Limits
from .normalize import speakable
from .trim import SilenceTrimmer
from .vits import AudioChunk, Delivery, Stop, Voice, check_runtime, load_config, speaker_id
from .word_timing import WordTimes

DEFAULT_VOICE = "en_US-joe-medium"
HUNGRY_S = 0.8
"""With less sound ahead than this the next clause is spoken, with more the next sentence is waited for. The longest
chunk needs ~0.3 s until it sounds; the rest is for a busy machine."""
PROVISIONAL_S = 0.7
"""So much sound is made of a reply that may be thrown away; the next chunk needs less than that until it sounds."""
FIRST_SOUND_S = 0.3
"""Until the longest hungry chunk sounds (see HUNGRY_S): what few words must last for."""


@dataclass(frozen=True, slots=True)
class _Made:
    piece: AudioChunk
    at_s: float


class Speaker(Protocol):
    """What speaks: a :class:`~.vits.Voice`, or one that many calls share."""

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]: ...


class PiperTTS(tts.TTS[Never]):  # Never: it emits no events beyond LiveKit's own
    """Text to speech on a local Piper voice, for anybody's ``AgentSession``.

    ``voice`` is an embedded name, the name of a Piper voice, or the path of an ``.onnx`` with its ``.onnx.json``
    beside it. The model is loaded (~1 s) by :meth:`prewarm`, or else by the first text, on a thread of its own, which
    also does the speaking; ``loaded`` is that voice, loaded already (safe for several threads, if it is shared).
    ``runtime``: what runs it, ``onnx``, ``openvino`` or ``auto`` (:meth:`Voice.load`). Raises ModelError for a voice
    that is not there, SpeechError for a speaker it has not; what goes wrong later reaches LiveKit as an APIError whose
    cause is ours.
    """

    def __init__(
        self,
        voice: str | Path = DEFAULT_VOICE,
        *,
        speaker: int | None = None,
        length_scale: float | None = None,
        limits: Limits | None = None,
        loaded: Speaker | None = None,
        runtime: str = "onnx",
        clock: Clock = SYSTEM,
    ) -> None:
        check_runtime(runtime)
        self._model_path, self._config_path = models.piper(str(voice))
        config = load_config(self._config_path)
        speaker_id(config, speaker)
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True, aligned_transcript=True),
            sample_rate=config.sample_rate,
            num_channels=1,
        )
        self.language: str = config.espeak_voice
        self._name = Path(voice).stem if str(voice).endswith(".onnx") else str(voice)
        self._delivery = Delivery(speaker=speaker, length_scale=length_scale)
        self._limits, self._runtime, self._clock = limits, runtime, clock
        self._voice = loaded
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="voice")
        self._stops: set[Stop] = set()

    @property
    def model(self) -> str:
        return self._name

    @property
    def provider(self) -> str:
        return "piper"

    @property
    def voice(self) -> Speaker:
        """What speaks, from the next text on; loaded now if it was not (blocks). Set another to time it, say."""
        return self._loaded()

    @voice.setter
    def voice(self, speaker: Speaker) -> None:
        self._voice = speaker

    def prewarm(self) -> None:
        """Start to load and warm up the voice. Returns at once; an error shows when the voice is first used."""
        self._thread.submit(self._loaded)

    async def load(self) -> None:
        """Load and warm up the voice, and wait for it. Raises ModelError."""
        await asyncio.wrap_future(self._thread.submit(self._loaded))

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _PiperChunkedStream(tts=self, input_text=text, conn_options=conn_options)

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> tts.SynthesizeStream:
        return _PiperStream(tts=self, conn_options=conn_options)

    async def aclose(self) -> None:
        """Stop everything that is being spoken and let the voice go."""
        for stop in tuple(self._stops):
            stop.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._voice = None

    def _loaded(self) -> Speaker:
        """The voice. Only on the voice's thread, as long as it is not loaded."""
        if self._voice is None:
            self._voice = Voice.load(self._model_path, self._config_path, runtime=self._runtime)
        return self._voice

    async def _pieces(
        self, text: str, *, low_latency: bool, due_at: float | None = None
    ) -> AsyncGenerator[_Made, None]:
        """Speak ``text`` on the voice's thread. Closing the generator stops that at once, with nothing left to come.

        ``due_at``: when what was said before it will have been heard; None: nothing is heard yet.
        """
        loop, stop = asyncio.get_running_loop(), Stop(due_at, probe.provisional())
        queue: asyncio.Queue[_Made | BaseException | None] = asyncio.Queue()

        def send(item: _Made | BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody listens any more
                loop.call_soon_threadsafe(queue.put_nowait, item)

        def work() -> None:
            try:
                if stop.is_set:
                    return
                for piece in self._loaded().speak(text, self._delivery, low_latency=low_latency, stop=stop):
                    send(_Made(piece, self._clock.now()))
            except BaseException as e:
                send(e)
            finally:
                send(None)

        self._stops.add(stop)
        try:
            self._thread.submit(work)
            while (item := await queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            self._stops.discard(stop)


class _Mouth:
    """Speaks what a chunker gives into an emitter, until the chunker is exhausted."""

    def __init__(
        self,
        owner: PiperTTS,
        emitter: tts.AudioEmitter,
        chunker: Chunker,
        arrived: asyncio.Event,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._owner, self._emitter, self._chunker, self._arrived = owner, emitter, chunker, arrived
        self._on_start = on_start
        self._clock = owner._clock
        self._sounds_until_s = self._clock.now()
        self._handed_over = self._audible = self._joined = False
        self._first_text_at: float | None = None
        self._made_s = 0.0
        self._caption: list[tuple[str, float, float]] = []  # text, start and end in seconds of this reply's sound

    async def run(self) -> None:
        while not self._chunker.exhausted:
            if self._made_s >= PROVISIONAL_S:
                await probe.released()
            ahead_s = self._sounds_until_s - self._clock.now()
            hungry = ahead_s < HUNGRY_S
            self._arrived.clear()
            few = self._few()
            if (chunk := self._chunker.take(hungry=hungry, few=few)) is not None:
                if few and chunk.joined:  # else a clause ends there anyway
                    probe.degradation_step("small_first", len(chunk.text.split()))
                await self._say(chunk, hungry=hungry)
            elif not self._chunker.exhausted:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if hungry else ahead_s - HUNGRY_S):
                        await self._arrived.wait()

    def _few(self) -> bool:
        """Whether fewer words than usual are to be spoken first: the turn is at risk, and no gap will follow."""
        if not self._chunker.at_start or not self._chunker.pending_chars:
            return False
        now, written = self._clock.now(), self._chunker.pending_words
        if self._first_text_at is None:
            self._first_text_at = now
        if not probe.at_risk():
            return False
        if self._chunker.closed:
            rate = float("inf")  # all of it is written
        elif written < 2 or now <= self._first_text_at:
            return False  # two words and the time between them give a pace
        else:
            rate = (written - 1) / (now - self._first_text_at)
        return few_words_first(
            FEW.breath_words,
            next_words=Limits().hungry_words if self._owner._limits is None else self._owner._limits.hungry_words,
            written_per_s=rate,
            first_sound_s=FIRST_SOUND_S,
        )

    def never_silent(self) -> None:
        """Push 10 ms of silence if nothing was said: LiveKit takes text without any audio for a failure."""
        if not self._audible:
            self._emitter.push(bytes(2 * (self._owner.sample_rate // 100)))

    def write_captions(self) -> None:
        """The words with their times go before the sound they are in: LiveKit hangs them on its frames."""
        if self._caption:
            self._emitter.push_timed_transcript([TimedString(t, start_time=a, end_time=b) for t, a, b in self._caption])
            self._caption.clear()

    async def _say(self, chunk: Chunk, *, hungry: bool) -> None:
        if not (text := speakable(chunk.text, self._owner.language)):
            self._caption.append((chunk.text, self._made_s, self._made_s))  # written, but nothing of it is spoken
            return
        if not self._handed_over:
            self._handed_over = True
            self._on_start()
            probe.mark("chunk_ready", self._clock.now())
        trimmer = SilenceTrimmer(
            self._owner.sample_rate,
            starts_reply=not self._audible,
            joins_previous=self._joined,
            joins_next=chunk.joined,
        )
        words, rate = WordTimes(chunk.text, self._made_s), self._owner.sample_rate
        due_at = self._sounds_until_s if self._audible else None
        async with contextlib.aclosing(self._owner._pieces(text, low_latency=hungry, due_at=due_at)) as pieces:
            async for made in pieces:
                piece = made.piece
                words.sentence(piece.groups, piece.phonemes, piece.first_group, piece.samples.size / rate)
                samples = trimmer.push(piece.samples, last=piece.last)
                if samples.size:
                    self._caption += words.take(skipped_s=trimmer.skipped / rate)
                self._emit(samples, made.at_s)
        self._caption += words.rest(self._made_s)
        self._joined = chunk.joined

    def _emit(self, samples: NDArray[np.int16], made_at_s: float) -> None:
        if not samples.size:
            return
        if not self._audible:
            self._audible = True
            probe.mark("tts_first_audio", made_at_s)
        self.write_captions()
        self._emitter.push(samples.tobytes())
        self._emitter.flush()  # it fills frames of up to 200 ms, and keeps 10 back: the rest of a piece would wait
        now = self._clock.now()
        self._made_s += samples.size / self._owner.sample_rate
        self._sounds_until_s = max(self._sounds_until_s, now) + samples.size / self._owner.sample_rate


class _PiperStream(TtsStream):
    def __init__(self, *, tts: PiperTTS, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._owner = tts

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        chunker, arrived = Chunker(self._owner._limits), asyncio.Event()
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=self._owner.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
            stream=True,
        )
        output_emitter.start_segment(segment_id=utils.shortuuid())
        reader = asyncio.create_task(self._read(chunker, arrived), name="PiperTTS.read")
        try:
            with _as_livekit_errors():
                mouth = _Mouth(self._owner, output_emitter, chunker, arrived, on_start=self.mark_started)
                await mouth.run()
        finally:
            await utils.aio.cancel_and_wait(reader)
        if self.pushed_text.strip():
            mouth.never_silent()
            mouth.write_captions()
        output_emitter.end_segment()

    async def _read(self, chunker: Chunker, arrived: asyncio.Event) -> None:
        """Collect the text. A flush ends the segment, and LiveKit takes no text into a second one."""
        async for item in self.received:
            if isinstance(item, str):
                chunker.push(item)
            elif self.pushed_text:
                break
            arrived.set()
        chunker.close()
        arrived.set()


class _PiperChunkedStream(tts.ChunkedStream):
    def __init__(self, *, tts: PiperTTS, input_text: str, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._owner = tts

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        chunker = Chunker(self._owner._limits)
        chunker.push(self.input_text)
        chunker.close()
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=self._owner.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
        )
        with _as_livekit_errors():
            mouth = _Mouth(self._owner, output_emitter, chunker, asyncio.Event())
            await mouth.run()
        if self.input_text.strip():
            mouth.never_silent()
            mouth.write_captions()


@contextlib.contextmanager
def _as_livekit_errors() -> Iterator[None]:
    """LiveKit reports and handles only its own errors. Trying again would not help: the same text fails again."""
    try:
        yield
    except VoiceAgentError as e:
        raise APIError(str(e), body=None, retryable=False) from e
