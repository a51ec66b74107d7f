"""The road's stages as doubles: hand :class:`ScriptedParts` to ``road(shared=...)`` or ``stage(shared=...)``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from ...clock import Clock
from ...config import Config, LlmConfig
from ...llm.client import ChatLLM
from ...llm.sim_spec import SimSpec, parse_spec
from ...llm.types import Endpoint
from ...pipeline.loaded_models import LoadedModels, ScheduledVoice
from ...runtime.scheduling import ScheduledExecutor
from ...stt import FastWhisperSTT
from ...stt.decoder import WhisperEngine
from ...stt.hypothesis import words_key
from ...tts import PiperTTS
from ...turn import EndOfTurnModel, RuleEndOfTurnModel
from .llm import Replies, ScriptedLLM, ScriptedProvider, endpoint
from .stt import ScriptedEngine, ScriptedSTT
from .tts import ScriptedTTS, ScriptedVoice


def pace_of(config: Config) -> SimSpec:
    """What ``llm.spec`` asks for: the pace of ``sim:...``; for any other model that of a fast provider."""
    spec = (config.llm.spec or "").strip()
    return parse_spec(spec) if spec.partition(":")[0] == "sim" else SimSpec()


def deterministic(config: Config) -> Config:
    """The settings as far as they make sense without models: texts are judged by rules, nobody listens to the sound."""
    turn = dataclasses.replace(config.turn, end_of_turn_model="rules", acoustic=False)
    return dataclasses.replace(config, turn=turn)


class ScriptedEndOfTurnModel:
    """Knows the script: a text of ``whole`` is complete, the beginning of one is not; of others the rules judge."""

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


class ScriptedParts(LoadedModels):
    """In place of :func:`voice_agent.pipeline.loaded_models.loaded`: doubled STT, LLM and TTS, nothing on disk or net.

    ``replies``: see :class:`~voice_agent.testing.doubles.llm.ScriptedProvider`. Its pace is that of
    ``config.llm.spec`` where that is ``sim:...`` (first token, speed, stalls, errors). :meth:`verify` raises
    ScriptError for what was not expected and what was left over.
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
        super().__init__(config, endpoint(), [], clock)
        self.doubled = True
        self.provider = ScriptedProvider(replies, pace=pace_of(config))
        hedge = (config.llm.hedge or "").strip()
        self.second = ScriptedProvider(replies, pace=parse_spec(hedge)) if hedge.partition(":")[0] == "sim" else None
        self.hedge = endpoint() if self.second is not None else None
        self.whisper = ScriptedEngine(mishears=mishears)
        self.stts: list[ScriptedSTT] = []
        self._whole = tuple(whole)
        self.ears, self.mouth, self.mind = self._ears, self._make_tts, self._make_llm

    def engine(self, language: str, model: str | None = None) -> WhisperEngine:
        return cast(WhisperEngine, self.whisper)

    def voice(self, name: str) -> ScheduledVoice:
        return cast(ScheduledVoice, ScriptedVoice(22_050))

    def end_of_turn_model(self) -> EndOfTurnModel:
        return ScriptedEndOfTurnModel(self._whole)

    def lane(self, urgent: Callable[[], bool]) -> ScheduledExecutor:
        return cast(ScheduledExecutor, ThreadPoolExecutor(1, thread_name_prefix="scripted-lane"))

    def verify(self) -> None:
        """Raise ScriptError if the conversation did not go by the script."""
        self.provider.verify()

    def _ears(self, model: str, **given: Any) -> FastWhisperSTT:
        thread = given["thread"]
        stt = ScriptedSTT(engine=self.whisper, turn_detector=given["turn_detector"], clock=given["clock"])
        stt.thread.shutdown()
        stt.thread = thread
        self.stts.append(stt)
        return stt

    def _make_tts(self, voice: str, **given: Any) -> PiperTTS:
        return ScriptedTTS(clock=given["clock"])

    def _make_llm(self, settings: LlmConfig, endpoint: Endpoint, *, clock: Clock) -> ChatLLM:
        script = self.second if self.second is not None and endpoint is self.hedge else self.provider
        return ScriptedLLM.following(script, settings, clock=clock)
