"""Request fields that a model refuses."""

from __future__ import annotations

from collections.abc import Callable

from voice_agent.livekit_compat import inference
from voice_agent.livekit_compat.symbols import Symbol

FIELDS = {"temperature": 0.6, "reasoning_effort": "low", "max_completion_tokens": 9}


def test_fields_that_a_model_is_known_to_refuse_are_left_out() -> None:
    assert inference.accepted_fields("llama-3.3-70b", FIELDS, None) == FIELDS
    assert "temperature" not in inference.accepted_fields("openai/gpt-5-mini", FIELDS, None)
    with_tools = inference.accepted_fields("gpt-5.2", FIELDS, [{"type": "function"}])
    assert "reasoning_effort" not in with_tools
    assert with_tools["max_completion_tokens"] == 9


def test_without_the_table_all_are_sent(without: Callable[[Symbol], None], warnings: Callable[[], list[str]]) -> None:
    without(inference.DROP_UNSUPPORTED)
    assert inference.accepted_fields("openai/gpt-5-mini", FIELDS, None) == FIELDS
    assert len(warnings()) == 1
