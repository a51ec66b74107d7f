"""What is loaded once a machine and used by all its calls: Whisper, voices, the judge of texts, the endpoint.

    async with loaded(config, calls=8) as shared:
        async with road(config, on_turn=print, shared=shared) as r: ...   # as often as there are calls

None of it belongs to an event loop, so calls on threads of their own (LiveKit's worker has one a call) share it too.
Who works next is decided in :mod:`voice_agent.runtime.scheduling`. docs/rooms.md has the figures that led to this.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .. import meter
from ..clock import SYSTEM, Clock
from ..config import Config, LlmConfig, models, provider_key
from ..errors import ModelError
from ..llm.client import ChatLLM
from ..llm.endpoints import resolve
from ..llm.local.embedded import EmbeddedModel
from ..llm.start import running
from ..llm.types import Endpoint
from ..runtime.scheduling import PrioritySemaphore, ScheduledExecutor, Scheduler
from ..runtime.thread_priority import lower_priority
from ..stt import FastWhisperSTT
from ..stt.decoder import WhisperEngine
from ..stt.pcm import SAMPLE_RATE
from ..tts import AudioChunk, Delivery, PiperTTS, Stop, Voice
from ..tts.vits import LOW_LATENCY_FRAMES, UNDER_LOAD_FRAMES
from ..turn import EndOfTurnModel, RuleEndOfTurnModel, TextEndOfTurnModel
from ..turn.eou.end_of_turn_models import PROMPT_HEAD, NextTokens
from ..turn.eou.language_model import TextModel
from .fillers import Sound

Progress = Callable[[str], None]
HURRIED_PIECES = 3
"""The first pieces of a hurried text: with the third there is sound for more than a second."""
SLACK_S = 0.7
"""So long before the sound runs out the next piece should be begun: it may take half of that on a busy machine."""
AHEAD_S = 1.5
"""With so much sound ahead no more is made while many calls run: what is interrupted then has cost little."""
PROVISIONAL_S = 0.4
"""So much sound is made then of a reply that may be thrown away: two pieces; the third takes less until it sounds."""
LATER_S = 0.15
"""A reply that may be thrown away may begin so much later than one that is wanted."""
LOOK_S = 0.01


class ScheduledVoice:
    """A voice that several calls use at once: each piece of sound is made in its turn, the most urgent first.

    ``crowded()``: there are so many calls that nothing is made before it is needed. ``later``: makes what is not
    due yet; the turnstile lets one such piece through at a time.
    """

    def __init__(
        self,
        voice: Voice,
        semaphore: PrioritySemaphore,
        crowded: Callable[[], bool] = lambda: False,
        clock: Clock = SYSTEM,
        *,
        later: Executor | None = None,
    ) -> None:
        self._voice = voice
        self._tts_semaphore = semaphore
        self._crowded = crowded
        self._later = later
        self._clock = clock

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]:
        """As :meth:`voice_agent.tts.Voice.speak`."""
        stop = stop or Stop()
        first = UNDER_LOAD_FRAMES if self._crowded() else LOW_LATENCY_FRAMES
        pieces = self._voice.speak(text, delivery, low_latency=low_latency, first=first, stop=stop)
        asked_at = self._clock.now()
        dry_at, made_s = asked_at if stop.due_at is None else stop.due_at, 0.0
        for number in itertools.count():
            if number or not low_latency:
                self._until_needed(stop, dry_at, made_s)
            if not low_latency or number >= HURRIED_PIECES:
                by = dry_at - SLACK_S
            else:
                by = asked_at + (LATER_S if stop.provisional() else 0.0)
            with self._tts_semaphore.turn(by):
                if self._later is not None and by > self._clock.now():
                    piece = self._later.submit(next, pieces, None).result()
                else:
                    piece = next(pieces, None)
            if piece is None:
                return
            if number == 0 and stop.due_at is None:
                dry_at = self._clock.now()
            length_s = piece.samples.size / self._voice.sample_rate
            dry_at, made_s = dry_at + length_s, made_s + length_s
            yield piece
            if piece.last:
                return

    def _until_needed(self, stop: Stop, dry_at: float, made_s: float) -> None:
        """Wait, where many calls run, for the moment at which the next piece is worth its work. Blocks."""
        while self._crowded() and not stop.is_set:
            if stop.provisional():
                wait_s = LOOK_S if made_s >= PROVISIONAL_S else 0.0
            else:
                wait_s = min(dry_at - AHEAD_S - self._clock.now(), 10 * LOOK_S)  # fewer calls may run meanwhile
            if wait_s <= 0.0:
                return
            stop.wait(wait_s)


class LoadedModels:
    """Loaded parts. Make one with :func:`loaded`; every method may be called from any thread."""

    def __init__(
        self,
        config: Config,
        endpoint: Endpoint,
        notes: list[str],
        clock: Clock,
        *,
        several: bool = False,
    ) -> None:
        self.config = config
        self.endpoint = endpoint
        """With an address that answers; its model is named once a call has chosen it."""
        self.hedge: Endpoint | None = None
        """Who is asked too when that one is late (docs/budget.md); None: the same again."""
        self.notes = notes
        self._cached_fillers: dict[tuple[str, int | None, float | None], dict[str, Sound]] = {}
        self._later = ThreadPoolExecutor(1, "voice later", lower_priority) if several else None
        self.scheduler = Scheduler(clock)
        self._clock = clock
        self.read: Callable[[], NextTokens] | None = None
        """Gives each call what reads its texts for the judge (:func:`reading`); None: rules judge them."""
        self._tts_semaphore = PrioritySemaphore(clock=clock)
        self._lock = threading.Lock()
        self._engines: dict[tuple[str, str], WhisperEngine] = {}
        self._voices: dict[str, ScheduledVoice] = {}
        self._voice_runtime = config.tts.backend_for(several=several)
        # What a call's stages are made with; doubles put theirs here (voice_agent.testing.doubles).
        self.doubled = False
        self.ears: Callable[..., FastWhisperSTT] = FastWhisperSTT
        self.mouth: Callable[..., PiperTTS] = PiperTTS
        self.mind: Callable[..., ChatLLM] = ChatLLM.from_config

    def close(self) -> None:
        """End the threads of the ears and of the voices."""
        self.scheduler.close()
        if self._later is not None:
            self._later.shutdown()

    async def choose(self) -> None:
        """Ask the provider once which model it is to be: calls then need not wait for that. Raises ProviderError."""
        mind = ChatLLM.from_config(self.config.llm, self.endpoint, clock=self._clock)
        try:
            choice = await mind.connection.choose()
        finally:
            await mind.aclose()
        self.endpoint = dataclasses.replace(self.endpoint, model=choice.model)
        self.notes.append(f"model {choice.model} at {self.endpoint.label}: {choice.reason}")

    def crowded(self) -> bool:
        """There are too many calls to do ahead what may turn out to be for nothing (``room.eager_calls_per_core``)."""
        return self.scheduler.crowded(self.config.room.eager_calls_per_core)

    def lane(self, urgent: Callable[[], bool]) -> ScheduledExecutor:
        """One call's place at the ears; urgent while its user waits for the text."""
        return self.scheduler.lane(urgent)

    def cached_fillers(self, voice: str, speaker: int | None, length_scale: float | None) -> dict[str, Sound]:
        """The short words that this voice has said ahead so far, by text; to be filled by a call."""
        with self._lock:
            return self._cached_fillers.setdefault((voice, speaker, length_scale), {})

    def engine(self, language: str, model: str | None = None) -> WhisperEngine:
        """Whisper for a language, by default the ``stt.model``; loaded and warmed on first use (blocks).

        Raises ModelError, ConfigError.
        """
        with self._lock:
            stt = self.config.stt
            name = (language, model or stt.model)
            if name not in self._engines:
                engine = WhisperEngine(
                    models.whisper(model or stt.model),
                    device=stt.device,
                    compute_type=stt.compute_type,
                    backend=stt.backend,
                    language=language,
                    hotwords=stt.hotwords,
                    threads=stt.threads,
                    clock=self._clock,
                )
                engine.decode(np.zeros(SAMPLE_RATE, np.float32))
                self._engines[name] = engine
            return self._engines[name]

    def voice(self, name: str) -> ScheduledVoice:
        """A voice by name; loaded and warmed on first use (blocks). Raises ModelError."""
        with self._lock:
            if name not in self._voices:
                voice = Voice.load(*models.piper(name), runtime=self._voice_runtime)
                self._voices[name] = ScheduledVoice(
                    voice, self._tts_semaphore, self.crowded, self._clock, later=self._later
                )
            return self._voices[name]

    def end_of_turn_model(self) -> EndOfTurnModel:
        """A judge of texts for one call."""
        return RuleEndOfTurnModel() if self.read is None else TextEndOfTurnModel(self.read())


@contextlib.asynccontextmanager
async def loaded(
    config: Config, *, calls: int = 1, progress: Progress = lambda _: None, clock: Clock = SYSTEM
) -> AsyncIterator[LoadedModels]:
    """Load and warm what ``config`` names, for ``calls`` at the same time; let it go at the end.

    Raises ModelError, ConfigError or ProviderError, each saying what to do.
    """
    notes: list[str] = []
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        counting = stack.enter_context(meter.opened(config.meter, clock=clock))
        if counting is not None:
            await loop.run_in_executor(None, counting.flush)  # its first reading
            notes += counting.snapshot().warnings()
        endpoint = resolve(config.llm, provider_key, exhausted=counting.exhausted if counting is not None else None)
        progress(f"loading Whisper {config.stt.model}, voice {config.tts.voice}")
        endpoint = stack.enter_context(running(endpoint, models.smollm2))
        chatting: EmbeddedModel | None = None
        if endpoint.kind == "embedded" and calls == 1:
            chatting = stack.enter_context(EmbeddedModel.shared(models.smollm2()))
        shared = LoadedModels(config, endpoint, notes, clock, several=calls > 1)
        if (second := hedge_settings(config.llm)) is not None and config.degradation.hedge:
            shared.hedge = stack.enter_context(running(resolve(second, provider_key), models.smollm2))
        stack.callback(shared.close)
        await asyncio.gather(
            loop.run_in_executor(None, shared.engine, config.stt.language),
            loop.run_in_executor(None, _voice_too, shared, config.tts.voice),
            *(
                [loop.run_in_executor(None, _judge_too, shared, chatting)]
                if config.turn.end_of_turn_model != "rules"
                else []
            ),
        )
        if endpoint.kind == "embedded":
            await loop.run_in_executor(None, _prefill, config.agent.prompt)
        yield shared


def hedge_settings(llm: LlmConfig) -> LlmConfig | None:
    """The settings of the second provider; None if there is none."""
    if not (llm.hedge or llm.hedge_base_url):
        return None
    return dataclasses.replace(
        llm,
        provider=None,
        spec=llm.hedge,
        base_url=llm.hedge_base_url,
        api_key=llm.hedge_api_key,
        model=llm.hedge_model,
    )


def _voice_too(shared: LoadedModels, name: str) -> None:
    shared.voice(name)


def _judge_too(shared: LoadedModels, chatting: EmbeddedModel | None) -> None:
    try:
        shared.read = reading(models.smollm2(), chatting)
        shared.end_of_turn_model().score("hello there")
    except ModelError as e:
        shared.notes.append(f"turns are judged by rules only: {e}")


def reading(path: Path, chatting: EmbeddedModel | None = None) -> Callable[[], NextTokens]:
    """What gives each call its reader of texts for the judge; loads the model at ``path`` (blocks). Raises ModelError.

    ``chatting``: the one conversation's answers come from this, so the weights are in memory already.
    """
    if chatting is not None:
        return lambda: chatting.next_token_logprobs
    model = TextModel(path, PROMPT_HEAD)
    return lambda: model.reader().next_tokens


def _prefill(prompt: str) -> None:
    """Have the embedded model read the instructions before the first turn does: 7 ms a token."""
    with EmbeddedModel.shared(models.smollm2()) as model:
        model.prefill(prompt)


__all__ = ["LoadedModels", "Progress", "ScheduledVoice", "hedge_settings", "loaded", "reading"]
