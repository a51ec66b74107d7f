"""Which language model is behind the end-of-turn model of each call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from voice_agent.config import Config, LlmConfig, SttConfig, TurnConfig, models
from voice_agent.errors import ModelError
from voice_agent.llm.local.embedded import EmbeddedModel
from voice_agent.pipeline.model_loader import load_models, next_token_reader
from voice_agent.pipeline.model_pool import ModelPool
from voice_agent.turn import RuleEndOfTurnModel, TextEndOfTurnModel
from voice_agent.turn.eou.end_of_turn_models import PROMPT_HEAD
from voice_agent.turn.eou.language_model import Reader

SIMULATED = Config(stt=SttConfig(model="tiny.en"), llm=LlmConfig(spec="sim:ttft=1ms"))
EMBEDDED = Config(stt=SttConfig(model="tiny.en"), llm=LlmConfig(spec="embedded"))


def reader_of(pool: ModelPool) -> Any:
    """What the next call's end-of-turn model reads with."""
    model = pool.end_of_turn_model()
    assert isinstance(model, TextEndOfTurnModel)
    return getattr(model.next_tokens, "__self__", None)


@pytest.mark.parametrize(
    ("config", "calls", "reader"),
    [(SIMULATED, 1, Reader), (SIMULATED, 2, Reader), (EMBEDDED, 1, EmbeddedModel), (EMBEDDED, 2, Reader)],
)
async def test_the_embedded_llm_of_the_only_call_serves_the_end_of_turn_model_too(
    config: Config, calls: int, reader: type
) -> None:
    async with load_models(config, calls=calls) as pool:
        assert isinstance(reader_of(pool), reader)
        end_of_turn_model = pool.end_of_turn_model()
        assert isinstance(end_of_turn_model, TextEndOfTurnModel)
        assert end_of_turn_model.score("What is the capital of France") > end_of_turn_model.score(
            "What is the capital of the"
        )
        assert pool.notes == [] or not any("rules" in note for note in pool.notes)
        if reader is Reader:
            assert reader_of(pool) is not reader_of(pool), "two calls would share one reader's state"


async def test_without_the_model_there_are_the_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "smollm2", lambda **_: tmp_path / "none.gguf")
    async with load_models(SIMULATED) as pool:
        assert isinstance(pool.end_of_turn_model(), RuleEndOfTurnModel)
        assert any("end of turn by rules only" in note and "fetch it again" in note for note in pool.notes)


async def test_configured_rules_load_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(**_: object) -> Path:
        raise AssertionError("the model was looked for")

    monkeypatch.setattr(models, "smollm2", never)
    async with load_models(
        Config(stt=SttConfig(model="tiny.en"), llm=SIMULATED.llm, turn=TurnConfig(end_of_turn_model="rules"))
    ) as pool:
        assert isinstance(pool.end_of_turn_model(), RuleEndOfTurnModel)
        assert not any("rules" in note for note in pool.notes)


def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fetch it again"):
        next_token_reader(tmp_path / "none.gguf")
    assert next_token_reader(models.smollm2())()(PROMPT_HEAD + "hello", 3)
