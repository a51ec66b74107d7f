"""What the calls of one machine share: engines, voices, the end-of-turn model, the scheduler and the LLM endpoint.

None of it belongs to an event loop, so calls on threads of their own (LiveKit's worker has one a call) share it too.
Whose work runs first is decided in :mod:`voice_agent.runtime.scheduling`. docs/rooms.md has the figures behind this.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Protocol

from ..clock import SYSTEM, Clock
from ..config import Config
from ..llm.client import ChatLLM
from ..llm.types import Endpoint
from ..runtime.scheduling import PrioritySemaphore, Scheduler
from ..runtime.thread_priority import lower_priority
from ..stt.decoder import WhisperEngine
from ..tts import Voice
from ..turn import EndOfTurnModel
from .fillers import Filler
from .scheduled_voice import ScheduledVoice
from .stage_factories import StageFactories


class ModelSource(Protocol):
    """Where a pool's models come from (:class:`~.model_loader.ModelLoader`, or a double)."""

    def engine(self, language: str, model: str) -> WhisperEngine:
        """A warm Whisper. Blocks. Raises ModelError, ConfigError."""

    def voice(self, name: str) -> Voice:
        """A warm voice. Blocks. Raises ModelError."""

    def end_of_turn_model(self) -> EndOfTurnModel:
        """An end-of-turn model for one call."""


class ModelPool:
    """Models by name, each loaded on first use. Every method may be called from any thread.

    ``endpoint``: the LLM's, with an address that answers; its model is named once one has been chosen. ``hedge``: the
    endpoint that gets the second request when the first is late (docs/budget.md); None: the same one. ``notes``: lines
    for the user. ``several``: for more than one call at a time.
    """

    def __init__(
        self,
        config: Config,
        endpoint: Endpoint,
        source: ModelSource,
        *,
        hedge: Endpoint | None = None,
        factories: StageFactories | None = None,
        notes: list[str] | None = None,
        clock: Clock = SYSTEM,
        several: bool = False,
    ) -> None:
        self.config = config
        self.endpoint = endpoint
        self.hedge = hedge
        self.factories = factories or StageFactories()
        self.notes = notes if notes is not None else []
        self.scheduler = Scheduler(clock)
        self._source = source
        self._clock = clock
        self._later = ThreadPoolExecutor(1, "tts-later", lower_priority) if several else None
        self._tts_semaphore = PrioritySemaphore(clock=clock)
        self._lock = threading.Lock()
        self._engines: dict[tuple[str, str], WhisperEngine] = {}
        self._voices: dict[str, ScheduledVoice] = {}
        self._cached_fillers: dict[tuple[str, int | None, float | None], dict[str, Filler]] = {}

    def close(self) -> None:
        """End the threads of STT and TTS."""
        self.scheduler.close()
        if self._later is not None:
            self._later.shutdown()

    async def choose_model(self) -> None:
        """Ask the provider once which model answers, so that calls do not wait for that. Raises ProviderError."""
        llm = ChatLLM.from_config(self.config.llm, self.endpoint, clock=self._clock)
        try:
            choice = await llm.connection.choose()
        finally:
            await llm.aclose()
        self.endpoint = dataclasses.replace(self.endpoint, model=choice.model)
        self.notes.append(f"model {choice.model} at {self.endpoint.label}: {choice.reason}")

    def under_load(self) -> bool:
        """Whether there are more calls than ``room.eager_calls_per_core``: then little speculative work is done."""
        return self.scheduler.has_more_calls_than(self.config.room.eager_calls_per_core)

    def stt_executor(self, urgent: Callable[[], bool]) -> Executor:
        """The executor of one call's STT passes; ``urgent()``: the user has paused and waits for the text."""
        return self.factories.stt_executor(self.scheduler, urgent)

    def cached_fillers(self, voice: str, speaker: int | None, length_scale: float | None) -> dict[str, Filler]:
        """The fillers synthesised so far with these settings, by text; calls add to it."""
        with self._lock:
            return self._cached_fillers.setdefault((voice, speaker, length_scale), {})

    def engine(self, language: str, model: str | None = None) -> WhisperEngine:
        """Whisper for a language, by default ``stt.model``; loaded on first use (blocks).

        Raises ModelError, ConfigError.
        """
        with self._lock:
            key = (language, model or self.config.stt.model)
            if key not in self._engines:
                self._engines[key] = self._source.engine(*key)
            return self._engines[key]

    def voice(self, name: str) -> ScheduledVoice:
        """A voice by name; loaded on first use (blocks). Raises ModelError."""
        with self._lock:
            if name not in self._voices:
                self._voices[name] = ScheduledVoice(
                    self._source.voice(name), self._tts_semaphore, self.under_load, self._clock, later=self._later
                )
            return self._voices[name]

    def end_of_turn_model(self) -> EndOfTurnModel:
        """An end-of-turn model for one call."""
        return self._source.end_of_turn_model()


__all__ = ["ModelPool", "ModelSource"]
