"""Piper as a LiveKit TTS that speaks the first clause of a reply while the model writes the rest.

>>> session = AgentSession(tts=PiperTTS(), tts_text_transforms=None, ...)  # doctest: +SKIP

``tts_text_transforms=None``, because LiveKit's Markdown filter holds a word back until the next one and an emphasis
until its end; :func:`.normalize.speakable` does that work for each chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Never

from livekit.agents import APIConnectOptions, APIError, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from .. import trace
from ..clock import SYSTEM, Clock
from ..config import models
from ..errors import VoiceAgentError
from ..livekit_compat.streams import TtsStream
from .chunker import Chunker, ChunkLimits
from .reply_speech import ReplySpeech, TimedChunk
from .synthesizer import Delivery, Stop, Synthesizer
from .vits import Voice, check_backend, load_config, speaker_id

if TYPE_CHECKING:
    from piper.config import PiperConfig

DEFAULT_VOICE = "en_US-joe-medium"


class PiperTTS(tts.TTS[Never]):  # Never: it emits no events beyond LiveKit's own
    """Text to speech on a local Piper voice, for anybody's ``AgentSession``.

    ``voice`` is an embedded name, the name of a Piper voice, or the path of an ``.onnx`` with its ``.onnx.json``
    beside it. :meth:`prewarm`, :meth:`load` or the first text loads the model (~1 s) on the thread that speaks.
    ``loaded``: a voice that is loaded already (if it is shared, it must be safe for several threads); with its
    ``config`` no file is read. ``backend``:
    ``onnx``, ``openvino`` or ``auto`` (:meth:`Voice.load`). Raises ModelError for a voice that is missing, SpeechError
    for a speaker that the voice lacks. Later failures reach LiveKit as an APIError with our error as its cause.
    """

    def __init__(
        self,
        voice: str | Path = DEFAULT_VOICE,
        *,
        speaker: int | None = None,
        length_scale: float | None = None,
        limits: ChunkLimits | None = None,
        loaded: Synthesizer | None = None,
        config: PiperConfig | None = None,
        backend: str = "onnx",
        clock: Clock = SYSTEM,
    ) -> None:
        check_backend(backend)
        if config is None:
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
        self.limits, self.clock = limits or ChunkLimits(), clock
        self._backend = backend
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
    def voice(self) -> Synthesizer:
        """What speaks, from the next text on. Reading it loads the voice if it was not (blocks)."""
        return self._loaded()

    @voice.setter
    def voice(self, synthesizer: Synthesizer) -> None:
        self._voice = synthesizer

    @property
    def speaking(self) -> bool:
        """Whether a text is being synthesized."""
        return bool(self._stops)

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
        """Stop all synthesis and release the voice."""
        for stop in tuple(self._stops):
            stop.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._voice = None

    def _loaded(self) -> Synthesizer:
        """The voice. Until it is loaded, call this on the voice's thread only."""
        if self._voice is None:
            self._voice = Voice.load(self._model_path, self._config_path, backend=self._backend)
        return self._voice

    async def synthesize_chunk(
        self, text: str, *, low_latency: bool, due_at: float | None = None
    ) -> AsyncGenerator[TimedChunk, None]:
        """Speak ``text`` on the voice's thread. Closing the generator stops that at once, and drops what is late.

        ``low_latency``: as for :meth:`Voice.speak`. ``due_at``: when the audio before it will have been played
        (seconds of the clock); None: nothing is played yet.
        """
        loop, stop = asyncio.get_running_loop(), Stop(due_at, trace.provisional())
        queue: asyncio.Queue[TimedChunk | BaseException | None] = asyncio.Queue()

        def send(item: TimedChunk | BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(queue.put_nowait, item)

        def work() -> None:
            try:
                if stop.is_set:
                    return
                for chunk in self._loaded().speak(text, self._delivery, low_latency=low_latency, stop=stop):
                    send(TimedChunk(chunk, self.clock.now()))
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


class _PiperStream(TtsStream):
    def __init__(self, *, tts: PiperTTS, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._owner = tts

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        chunker, arrived = Chunker(self._owner.limits), asyncio.Event()
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
                reply = ReplySpeech(self._owner, output_emitter, chunker, arrived, on_start=self.mark_started)
                await reply.run()
        finally:
            await utils.aio.cancel_and_wait(reader)
        if self.pushed_text.strip():
            reply.finish()
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
        chunker = Chunker(self._owner.limits)
        chunker.push(self.input_text)
        chunker.close()
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=self._owner.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
        )
        with _as_livekit_errors():
            reply = ReplySpeech(self._owner, output_emitter, chunker, asyncio.Event())
            await reply.run()
        if self.input_text.strip():
            reply.finish()


@contextlib.contextmanager
def _as_livekit_errors() -> Iterator[None]:
    """LiveKit reports and handles only its own errors. Trying again would not help: the same text fails again."""
    try:
        yield
    except VoiceAgentError as e:
        raise APIError(str(e), body=None, retryable=False) from e
