from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.llm.deltas import DeltaReader, timings_of, usage_of

from .conftest import chunk


@given(st.lists(st.integers(1, 6), max_size=40))
def test_reasoning_is_dropped_wherever_the_chunks_are_cut(cuts: list[int]) -> None:
    text = "<think>First, a plan.</think>\n\nThe answer is <5 and a > b."
    reader, spoken, at = DeltaReader(), "", 0
    for size in [*cuts, len(text)]:
        spoken += reader.feed(chunk(text[at : at + size])).content
        at += size
    spoken += reader.feed(chunk(finish="stop")).content
    assert spoken == "The answer is <5 and a > b."


def test_other_fields_of_reasoning_are_not_content() -> None:
    reader = DeltaReader()
    for field in ("reasoning", "reasoning_content"):
        piece = reader.feed(chunk(**{field: "hmm"}))
        assert not piece.content
        assert not piece.started
    assert reader.estimated_tokens == 2


def test_odd_but_allowed_chunks() -> None:
    reader = DeltaReader()
    assert not reader.feed({"choices": []}).started
    assert not reader.feed({"choices": [{"delta": None, "finish_reason": None}]}).started
    assert reader.feed(chunk(content=[{"type": "text", "text": "Hi"}])).content == "Hi"  # type: ignore[arg-type]


def test_parallel_calls_that_all_have_index_0() -> None:
    reader = DeltaReader()
    calls = [{"index": 0, "id": i, "function": {"name": "f", "arguments": {"n": i}}} for i in ("a", "b")]
    reader.feed(chunk(tool_calls=calls))
    done = reader.feed(chunk(finish="stop"))
    assert [(call.call_id, call.arguments) for call in done.tool_calls] == [("a", '{"n": "a"}'), ("b", '{"n": "b"}')]


def test_calls_without_id_or_arguments() -> None:
    reader = DeltaReader()
    reader.feed(chunk(tool_calls=[{"function": {"name": "f"}}]))
    (call,) = reader.feed(chunk(finish="tool_calls")).tool_calls
    assert call.call_id
    assert call.arguments == "{}"


def test_timings() -> None:
    cerebras = {"time_info": {"queue_time": 0.0005, "prompt_time": 0.001, "completion_time": 0.02, "created": 1.7e9}}
    assert timings_of(cerebras) == {"queue_ms": 0.5, "prompt_ms": 1.0, "completion_ms": 20.0}
    groq = {"x_groq": {"id": "r", "usage": {"queue_time": 0.01, "completion_tokens": 5, "prompt_tokens": 7}}}
    assert timings_of(groq) == {"queue_ms": 10.0}
    counts = usage_of(groq)
    assert counts is not None
    assert (counts.prompt_tokens, counts.completion_tokens, counts.total_tokens) == (7, 5, 12)
    assert timings_of({"timings": {"prompt_ms": 3.0, "predicted_ms": 4.5}}) == {"prompt_ms": 3.0, "completion_ms": 4.5}
    assert timings_of(chunk("x")) == {}
    assert usage_of(chunk("x")) is None


@pytest.mark.parametrize("bad", [{"choices": 7}, {"choices": ["x"]}, {"choices": [{"delta": "text"}]}])
def test_chunks_of_another_shape(bad: dict[str, object]) -> None:
    with pytest.raises((TypeError, AttributeError, ValueError)):
        DeltaReader().feed(bad)


@given(st.lists(st.integers(1, 6), max_size=40), st.booleans())
def test_reasoning_that_is_only_closed(cuts: list[int], opens: bool) -> None:
    text = "A plan, with a < b.\n</think>\n\nThe answer."
    reader, spoken, at = DeltaReader(opens_thinking=opens), "", 0
    for size in [*cuts, len(text)]:
        spoken += reader.feed(chunk(text[at : at + size])).content
        at += size
    spoken += reader.feed(chunk(finish="stop")).content
    assert "</think>" not in spoken
    assert spoken.endswith("The answer.")
    if opens:
        assert spoken == "The answer."


def test_a_model_that_opens_thinking_is_not_held_back_without_need() -> None:
    separated = DeltaReader(opens_thinking=True)
    separated.feed(chunk(reasoning_content="hmm"))
    assert separated.feed(chunk("Hello")).content == "Hello"
    tagged = DeltaReader(opens_thinking=True)
    assert tagged.feed(chunk("<think>hm</think>")).content == ""
    assert tagged.feed(chunk("Hello")).content == "Hello"
    never = DeltaReader(opens_thinking=True)
    assert never.feed(chunk("Hello")).content == ""
    assert never.feed(chunk(finish="stop")).content == "Hello"
