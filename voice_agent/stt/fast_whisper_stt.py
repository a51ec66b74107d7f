"""A LiveKit ``stt.STT`` that transcribes while the user speaks.

Alone, in any agent, ``AgentSession(stt=FastWhisperSTT("base"), vad=..., ...)`` gives interim transcripts and, after a
short silence, the final one. With a turn detector (:mod:`voice_agent.turn`) it also ends the turn:
``AgentSession(stt=FastWhisperSTT("base", turn_detector=...), turn_handling={"turn_detection": "stt", ...})``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
from livekit import rtc
from livekit.agents import stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import AudioBuffer, is_given
from livekit.local_inference import VAD

from ..audio.resampling import resample
from ..clock import SYSTEM, Clock
from ..config import models
from ..turn_events import BaseTurnDetector, UserTurn
from .decoder import WhisperEngine
from .incremental import join
from .pcm import SAMPLE_RATE, Float32, mono, quietest, to_float
from .silence_endpointing import SilenceEndpointing
from .whisper_stream import Vad, WhisperStream, WhisperSTTBase


class FastWhisperSTT(WhisperSTTBase):
    """Whisper as a streaming STT.

    ``model``: an installed name (``tiny.en``, ``base``), a CTranslate2 folder or a hub id. ``turn_detector`` makes a
    turn detector for each stream; None ends a turn after a plain silence of ``final_silence_s``. ``on_turn`` gets every
    committed turn, ``on_reopen`` the text of a committed turn that the user continues. A loaded ``engine`` may be
    shared by several STTs; ``thread`` (shut down by this STT) then decides whose pass runs first
    (:mod:`voice_agent.runtime.scheduling`).
    Raises ModelError (no such model) and ConfigError (a language that the model does not know).
    """

    def __init__(
        self,
        model: str = "tiny.en",
        *,
        device: str = "cpu",
        compute_type: str = "int8",
        language: str = "en",
        hotwords: str = "",
        threads: int = 1,
        turn_detector: Callable[[], BaseTurnDetector] | None = None,
        final_silence_s: float = 0.25,
        on_turn: Callable[[UserTurn], None] | None = None,
        on_reopen: Callable[[str], None] | None = None,
        engine: WhisperEngine | None = None,
        thread: Executor | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self._name = model
        self.language = language
        self._shared_engine = engine is not None
        self.engine = engine or WhisperEngine(
            models.whisper(model),
            device=device,
            compute_type=compute_type,
            language=language,
            hotwords=hotwords,
            threads=threads,
            clock=clock,
        )
        self.thread = thread or ThreadPoolExecutor(1, thread_name_prefix="whisper")
        self._new_turn_detector = turn_detector or (lambda: SilenceEndpointing(final_silence_s))
        self.on_turn = on_turn
        self.on_reopen = on_reopen
        self.clock = clock

    @property
    def model(self) -> str:
        return self._name

    @property
    def provider(self) -> str:
        return "faster-whisper"

    def prewarm(self) -> None:
        """Run one pass over silence, so that the first real pass is not slow. Blocks.

        A session calls this on its event loop when it starts. A shared engine is warm already, and other calls use it.
        """
        if not self._shared_engine:
            self.engine.decode(np.zeros(SAMPLE_RATE, np.float32))

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> WhisperStream:
        if is_given(language) and language and language != self.language and self.language != "auto":
            raise ValueError(f"this Whisper was loaded for language={self.language!r}; make one for {language!r}")
        return WhisperStream(self, self._new_turn_detector(), conn_options)

    def new_vad(self) -> Vad:
        """Silero's VAD, as LiveKit ships it."""
        vad = VAD()
        return lambda window: float(vad.predict(window))

    def turn_committed(self, turn: UserTurn) -> None:
        """A stream calls this at the end of a turn."""
        if self.on_turn is not None:
            self.on_turn(turn)

    def turn_reopened(self, text: str) -> None:
        """A stream calls this when the user continues a committed turn of which nothing was audible yet."""
        if self.on_reopen is not None:
            self.on_reopen(text)

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        frame = rtc.combine_audio_frames(buffer)
        pcm = resample(mono(frame), frame.sample_rate, SAMPLE_RATE)
        text = await asyncio.get_running_loop().run_in_executor(self.thread, transcribe, self.engine, to_float(pcm))
        return stt.SpeechEvent(type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[self.speech_data(text)])

    async def aclose(self) -> None:
        self.thread.shutdown(wait=False, cancel_futures=True)


def transcribe(engine: WhisperEngine, pcm: Float32, *, piece_s: float = 24.0) -> str:
    """The text of a recording of any length (mono, 16 kHz), decoded in pieces that are cut at quiet places. Blocks."""
    text = ""
    while len(pcm) > piece_s * SAMPLE_RATE:
        cut = quietest(pcm, int(piece_s * SAMPLE_RATE * 0.6), int(piece_s * SAMPLE_RATE))
        text, pcm = join(text, engine.decode(pcm[:cut]).text), pcm[cut:]
    return join(text, engine.decode(pcm).text)
