"""The pipeline's stages as doubles: hand :attr:`ScriptedStages.pool` to ``open_session(shared=...)`` or
``call_harness(shared=...)``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, cast

from ...clock import Clock
from ...config import Config, LlmConfig
from ...llm.client import ChatLLM
from ...llm.sim_spec import SimSpec, parse_spec
from ...llm.types import Endpoint
from ...pipeline.model_pool import ModelPool
from ...pipeline.stage_factories import StageFactories
from ...runtime.scheduling import Scheduler
from ...stt import FastWhisperSTT
from ...stt.decoder import WhisperEngine
from ...stt.hypothesis import words_key
from ...tts import PiperTTS, Voice
from ...turn import EndOfTurnModel, RuleEndOfTurnModel
from .llm import Replies, ScriptedLLM, ScriptedProvider, endpoint
from .stt import ScriptedEngine, ScriptedSTT
from .tts import ScriptedTTS, ScriptedVoice


def pace_of(config: Config) -> SimSpec:
    """The pace of ``llm.spec`` where that is ``sim:...``; of a fast provider for any other model."""
    spec = (config.llm.spec or "").strip()
    return parse_spec(spec) if spec.partition(":")[0] == "sim" else SimSpec()


def deterministic(config: Config) -> Config:
    """``config`` with an end-of-turn model that needs no weights: rules."""
    turn = dataclasses.replace(config.turn, end_of_turn_model="rules")
    return dataclasses.replace(config, turn=turn)


class ScriptedEndOfTurnModel:
    """Knows the script: a text of ``whole`` is complete, the beginning of one is not; other texts go by the rules."""

    def __init__(self, whole: Sequence[str]) -> None:
        self._whole = [words_key(text) for text in whole]
        self._rules = RuleEndOfTurnModel()

    def score(self, text: str) -> float:
        said = words_key(text)
        if said in self._whole:
            return -0.5
        if said and any(words[: len(said)] == said for words in self._whole):
            return -6.0
        return self._rules.score(text)


class ScriptedStages:
    """Doubled STT, LLM and TTS for a session: nothing on disk or net. :attr:`pool` stands for loaded models.

    ``replies``: see :class:`~voice_agent.testing.doubles.llm.ScriptedProvider`. Its pace is that of
    ``config.llm.spec`` where that is ``sim:...`` (first token, speed, stalls, errors). :meth:`verify` raises
    ScriptError for deviations from the script.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        replies: Replies = None,
        mishears: dict[str, str] | None = None,
        whole: Sequence[str] = (),
    ) -> None:
        self.provider = ScriptedProvider(replies, pace=pace_of(config))
        hedge = (config.llm.hedge or "").strip()
        self.second = ScriptedProvider(replies, pace=parse_spec(hedge)) if hedge.partition(":")[0] == "sim" else None
        self.whisper = ScriptedEngine(mishears=mishears)
        self.stts: list[ScriptedSTT] = []
        self._whole = tuple(whole)
        self.pool = ModelPool(
            config,
            endpoint(),
            self,
            hedge=endpoint() if self.second is not None else None,
            factories=StageFactories(
                stt=self._make_stt,
                tts=self._make_tts,
                llm=self._make_llm,
                stt_executor=_one_thread,
                doubled=True,
            ),
            clock=clock,
        )

    def engine(self, language: str, model: str) -> WhisperEngine:
        return cast(WhisperEngine, self.whisper)

    def voice(self, name: str) -> Voice:
        return cast(Voice, ScriptedVoice(22_050))

    def end_of_turn_model(self) -> EndOfTurnModel:
        return ScriptedEndOfTurnModel(self._whole)

    def verify(self) -> None:
        """Raise ScriptError if the conversation did not go by the script."""
        self.provider.verify()

    def _make_stt(self, model: str, **given: Any) -> FastWhisperSTT:
        thread = given["thread"]
        stt = ScriptedSTT(engine=self.whisper, turn_detector=given["turn_detector"], clock=given["clock"])
        stt.thread.shutdown()
        stt.thread = thread
        self.stts.append(stt)
        return stt

    def _make_tts(self, voice: str, **given: Any) -> PiperTTS:
        return ScriptedTTS(clock=given["clock"])

    def _make_llm(self, settings: LlmConfig, endpoint: Endpoint, *, clock: Clock) -> ChatLLM:
        script = self.second if self.second is not None and endpoint is self.pool.hedge else self.provider
        return ScriptedLLM.following(script, settings, clock=clock)


def _one_thread(scheduler: Scheduler, urgent: Callable[[], bool]) -> Executor:
    return ThreadPoolExecutor(1, thread_name_prefix="scripted-stt")
