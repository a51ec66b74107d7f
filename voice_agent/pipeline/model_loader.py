"""Loads and warms the models that a configuration names, from disk, and gives a pool of them to the calls.

async with load_models(config, calls=8) as shared:
    async with open_session(config, on_turn=print, shared=shared) as opened: ...   # once a call
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import meter
from ..clock import SYSTEM, Clock
from ..config import Config, LlmConfig, models, provider_key
from ..errors import ModelError
from ..llm.endpoints import resolve
from ..llm.local.embedded import EmbeddedModel
from ..llm.start import running
from ..llm.types import Endpoint
from ..stt.decoder import WhisperEngine
from ..stt.pcm import SAMPLE_RATE
from ..tts import Voice
from ..turn import EndOfTurnModel, RuleEndOfTurnModel, TextEndOfTurnModel
from ..turn.eou.end_of_turn_models import PROMPT_HEAD, NextTokens
from ..turn.eou.language_model import TextModel
from .model_pool import ModelPool

Progress = Callable[[str], None]
WARM_UP_TEXT = "hello there"


class ModelLoader:
    """Loads models for one machine (:class:`~.model_pool.ModelSource`). ``several``: for more than one call.

    ``next_tokens`` gives each call what the end-of-turn model reads texts with; None: rules score the texts.
    """

    def __init__(self, config: Config, clock: Clock, *, several: bool = False) -> None:
        self._config = config
        self._clock = clock
        self._voice_backend = config.tts.backend_for(several=several)
        self.next_tokens: Callable[[], NextTokens] | None = None

    def engine(self, language: str, model: str) -> WhisperEngine:
        """Whisper ``model`` for a language, warm. Blocks. Raises ModelError, ConfigError."""
        stt = self._config.stt
        engine = WhisperEngine(
            models.whisper(model),
            device=stt.device,
            compute_type=stt.compute_type,
            backend=stt.backend,
            language=language,
            hotwords=stt.hotwords,
            threads=stt.threads,
            clock=self._clock,
        )
        engine.decode(np.zeros(SAMPLE_RATE, np.float32))
        return engine

    def voice(self, name: str) -> Voice:
        """A voice, warm. Blocks. Raises ModelError."""
        return Voice.load(*models.piper(name), backend=self._voice_backend)

    def end_of_turn_model(self) -> EndOfTurnModel:
        """An end-of-turn model for one call."""
        return RuleEndOfTurnModel() if self.next_tokens is None else TextEndOfTurnModel(self.next_tokens())

    def load_end_of_turn_model(self, notes: list[str], embedded: EmbeddedModel | None = None) -> None:
        """Load and warm the language model behind the end-of-turn model; without it, rules do, and a note says so.

        ``embedded``: the embedded LLM of the only call, whose weights are then used for this too. Blocks.
        """
        try:
            self.next_tokens = next_token_reader(models.smollm2(), embedded)
            self.end_of_turn_model().score(WARM_UP_TEXT)
        except ModelError as e:
            notes.append(f"end of turn by rules only: {e}")


@contextlib.asynccontextmanager
async def load_models(
    config: Config, *, calls: int = 1, progress: Progress = lambda _: None, clock: Clock = SYSTEM
) -> AsyncIterator[ModelPool]:
    """Load and warm what ``config`` names, for ``calls`` at the same time; free it at the end.

    Raises ModelError, ConfigError or ProviderError, each saying what to do.
    """
    notes: list[str] = []
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        usage = stack.enter_context(meter.opened(config.meter, clock=clock))
        if usage is not None:
            await loop.run_in_executor(None, usage.flush)  # its first reading
            notes += usage.snapshot().warnings()
        endpoint = resolve(config.llm, provider_key, exhausted=usage.exhausted if usage is not None else None)
        progress(f"loading Whisper {config.stt.model}, voice {config.tts.voice}")
        endpoint = stack.enter_context(running(endpoint, models.smollm2))
        embedded: EmbeddedModel | None = None
        if endpoint.kind == "embedded" and calls == 1:
            embedded = stack.enter_context(EmbeddedModel.shared(models.smollm2()))
        loader = ModelLoader(config, clock, several=calls > 1)
        pool = ModelPool(
            config, endpoint, loader, notes=notes, clock=clock, several=calls > 1, hedge=_hedge(config, stack)
        )
        stack.callback(pool.close)
        loading: list[asyncio.Future[Any]] = [
            loop.run_in_executor(None, pool.engine, config.stt.language),
            loop.run_in_executor(None, pool.voice, config.tts.voice),
        ]
        if config.turn.end_of_turn_model != "rules":
            loading.append(loop.run_in_executor(None, loader.load_end_of_turn_model, notes, embedded))
        await asyncio.gather(*loading)
        if endpoint.kind == "embedded":
            await loop.run_in_executor(None, _prefill, config.agent.prompt)
        yield pool


def _hedge(config: Config, stack: contextlib.ExitStack) -> Endpoint | None:
    """The second provider's endpoint, ready to answer."""
    settings = hedge_settings(config.llm)
    if settings is None or not config.degradation.hedge:
        return None
    return stack.enter_context(running(resolve(settings, provider_key), models.smollm2))


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


def next_token_reader(path: Path, embedded: EmbeddedModel | None = None) -> Callable[[], NextTokens]:
    """A factory of the function that gives next-token log-probabilities to one call's end-of-turn model.

    Loads the model at ``path`` (blocks; raises ModelError), unless ``embedded`` has the weights in memory already.
    """
    if embedded is not None:
        return lambda: embedded.next_token_logprobs
    model = TextModel(path, PROMPT_HEAD)
    return lambda: model.reader().next_tokens


def _prefill(prompt: str) -> None:
    """Have the embedded LLM read the system prompt before the first turn needs it to: 7 ms a token."""
    with EmbeddedModel.shared(models.smollm2()) as model:
        model.prefill(prompt)


__all__ = ["ModelLoader", "Progress", "hedge_settings", "load_models", "next_token_reader"]
