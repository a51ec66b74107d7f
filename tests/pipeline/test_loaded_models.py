"""What the calls of a machine share: who reads texts for the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from voice_agent.config import Config, LlmConfig, SttConfig, TurnConfig, models
from voice_agent.errors import ModelError
from voice_agent.llm.local.embedded import EmbeddedModel
from voice_agent.pipeline.loaded_models import LoadedModels, loaded, reading
from voice_agent.turn import RuleEndOfTurnModel, TextEndOfTurnModel
from voice_agent.turn.eou.end_of_turn_models import PROMPT_HEAD
from voice_agent.turn.eou.language_model import Reader

SIMULATED = Config(stt=SttConfig(model="tiny.en"), llm=LlmConfig(spec="sim:ttft=1ms"))
EMBEDDED = Config(stt=SttConfig(model="tiny.en"), llm=LlmConfig(spec="embedded"))


def reader_of(parts: LoadedModels) -> Any:
    assert parts.read is not None
    return getattr(parts.read(), "__self__", None)


@pytest.mark.parametrize(
    ("config", "calls", "reader"),
    [(SIMULATED, 1, Reader), (SIMULATED, 2, Reader), (EMBEDDED, 1, EmbeddedModel), (EMBEDDED, 2, Reader)],
)
async def test_weights_that_answer_a_conversation_read_its_texts_too(config: Config, calls: int, reader: type) -> None:
    async with loaded(config, calls=calls) as parts:
        assert isinstance(reader_of(parts), reader)
        end_of_turn_model = parts.end_of_turn_model()
        assert isinstance(end_of_turn_model, TextEndOfTurnModel)
        assert end_of_turn_model.score("What is the capital of France") > end_of_turn_model.score(
            "What is the capital of the"
        )
        assert parts.notes == [] or not any("rules" in note for note in parts.notes)
        if reader is Reader:
            assert reader_of(parts) is not reader_of(parts), "two calls would share what was read last"


async def test_a_model_that_is_not_there_leaves_the_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "smollm2", lambda **_: tmp_path / "none.gguf")
    async with loaded(SIMULATED) as parts:
        assert isinstance(parts.end_of_turn_model(), RuleEndOfTurnModel)
        assert any("judged by rules only" in note and "fetch it again" in note for note in parts.notes)


async def test_rules_that_are_asked_for_load_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(**_: object) -> Path:
        raise AssertionError("the model was looked for")

    monkeypatch.setattr(models, "smollm2", never)
    async with loaded(
        Config(stt=SttConfig(model="tiny.en"), llm=SIMULATED.llm, turn=TurnConfig(end_of_turn_model="rules"))
    ) as parts:
        assert isinstance(parts.end_of_turn_model(), RuleEndOfTurnModel)
        assert not any("rules" in note for note in parts.notes)


def test_a_file_that_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fetch it again"):
        reading(tmp_path / "none.gguf")
    assert reading(models.smollm2())()(PROMPT_HEAD + "hello", 3)
