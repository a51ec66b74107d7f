"""Turns as metrics, without a room."""

from __future__ import annotations

import pytest
from livekit.agents.utils import nodename
from prometheus_client import REGISTRY

from voice_agent.budget.ledger import Mark, Turn, TurnBuilder
from voice_agent.budget.turn_verdict import Budget
from voice_agent.room import metrics


def answered_after(seconds: float) -> Turn:
    builder = TurnBuilder(1)
    builder.user_text = "a secret of the user"
    for mark, at in (
        (Mark.SPEECH_ENDED, 10.0),
        (Mark.TRANSCRIPT_READY, 10.1),
        (Mark.LLM_REQUESTED, 10.1),
        (Mark.LLM_FIRST_CONTENT, 10.3),
        (Mark.TURN_COMMITTED, 10.2),
        (Mark.CHUNK_READY, 10.3),
        (Mark.TTS_FIRST_AUDIO, 10.3),
        (Mark.FIRST_AUDIBLE, 10.0 + seconds),
    ):
        builder.mark(mark, at)
    return builder.build()


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"nodename": nodename(), **labels}) or 0.0


def test_a_turn_is_counted_in_seconds_by_stage() -> None:
    names: tuple[tuple[str, dict[str, str]], ...] = (
        ("voice_agent_voice_to_voice_seconds_sum", {}),
        ("voice_agent_stage_seconds_sum", {"stage": "llm"}),
        ("voice_agent_turns_total", {"outcome": "answered"}),
        ("voice_agent_turns_over_budget_total", {}),
    )
    before = [sample(name, **labels) for name, labels in names]
    metrics.count_turn(answered_after(0.6), Budget(total_ms=500))
    after = [sample(name, **labels) for name, labels in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([0.6, 0.2, 1, 1])


def test_a_failed_turn_is_counted_without_a_time() -> None:
    builder = TurnBuilder(1)
    builder.fail(RuntimeError("no"))
    turn = builder.build()
    before = sample("voice_agent_voice_to_voice_seconds_count")
    metrics.count_turn(turn, Budget())
    assert metrics.outcome(turn) == "failed"
    assert sample("voice_agent_voice_to_voice_seconds_count") == before
