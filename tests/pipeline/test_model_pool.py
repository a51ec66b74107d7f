"""Models are loaded once a name, whoever asks; a call under load does less ahead."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from voice_agent.clock import ManualClock
from voice_agent.config import Config, RoomConfig, SttConfig
from voice_agent.llm.types import Endpoint
from voice_agent.pipeline.model_pool import ModelPool
from voice_agent.runtime.scheduling import ScheduledExecutor
from voice_agent.stt.decoder import WhisperEngine
from voice_agent.tts import Voice
from voice_agent.turn import EndOfTurnModel, RuleEndOfTurnModel


class CountingSource:
    """Gives empty models, and counts."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, ...]] = []

    def engine(self, language: str, model: str) -> WhisperEngine:
        self.loaded.append((language, model))
        return cast(WhisperEngine, object())

    def voice(self, name: str) -> Voice:
        self.loaded.append((name,))
        return cast(Voice, object())

    def end_of_turn_model(self) -> EndOfTurnModel:
        return RuleEndOfTurnModel()


@pytest.fixture
def source() -> CountingSource:
    return CountingSource()


@pytest.fixture
def pool(source: CountingSource) -> Iterator[ModelPool]:
    config = Config(stt=SttConfig(model="base"), room=RoomConfig(eager_calls_per_core=0.0001))
    pool = ModelPool(config, cast(Endpoint, None), source, clock=ManualClock())
    yield pool
    pool.close()


def test_each_model_is_loaded_once(pool: ModelPool, source: CountingSource) -> None:
    with ThreadPoolExecutor(4) as threads:
        engines = list(threads.map(pool.engine, ["en"] * 8))
    assert len(set(map(id, engines))) == 1
    assert pool.engine("en", "tiny.en") is not engines[0]
    assert pool.engine("de") is not engines[0]
    assert pool.voice("joe") is pool.voice("joe")
    assert source.loaded == [("en", "base"), ("en", "tiny.en"), ("de", "base"), ("joe",)]


def test_fillers_are_kept_by_voice_and_delivery(pool: ModelPool) -> None:
    fillers = pool.cached_fillers("joe", None, None)
    assert pool.cached_fillers("joe", None, None) is fillers
    assert pool.cached_fillers("joe", None, 1.2) is not fillers


def test_each_call_has_its_own_executor_and_counts_for_the_load(pool: ModelPool) -> None:
    assert not pool.under_load()
    executor = pool.stt_executor(lambda: True)
    assert isinstance(executor, ScheduledExecutor)
    assert executor.submit(lambda: 7).result(10) == 7
    assert pool.under_load()
    executor.shutdown()
    assert not pool.under_load()


def test_other_factories_decide_about_the_executor(source: CountingSource) -> None:
    mine = ThreadPoolExecutor(1)
    usual = ModelPool(Config(), cast(Endpoint, None), source)
    factories = dataclasses.replace(usual.factories, stt_executor=lambda scheduler, urgent: mine)
    usual.close()
    pool = ModelPool(Config(), cast(Endpoint, None), source, factories=factories)
    assert pool.stt_executor(lambda: False) is mine
    pool.close()
    mine.shutdown()
