"""What is told outside, without a room."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import pytest
from livekit import rtc
from livekit.agents.utils import nodename
from prometheus_client import REGISTRY

from voice_agent.budget.ledger import Budget, Mark, Turn, TurnBuilder
from voice_agent.meter import Level, Reading, Snapshot, Totals
from voice_agent.room import published
from voice_agent.room.access import LEDGER_ATTRIBUTE


def person(attributes: dict[str, str], *, may_change_them: bool = False) -> rtc.RemoteParticipant:
    permissions = SimpleNamespace(can_update_metadata=may_change_them)
    return cast(rtc.RemoteParticipant, SimpleNamespace(attributes=attributes, permissions=permissions))


@pytest.mark.parametrize(
    ("participant", "told"),
    [
        (person({}), False),
        (person({LEDGER_ATTRIBUTE: "0"}), False),
        (person({LEDGER_ATTRIBUTE: "1"}), True),
        (person({LEDGER_ATTRIBUTE: "1"}, may_change_them=True), False),
    ],
)
def test_only_a_token_can_give_the_right(participant: rtc.RemoteParticipant, told: bool) -> None:
    assert published.may_know(participant) is told


def test_what_was_asked_of_a_provider_is_told_with_its_nearest_limit() -> None:
    levels = (
        Level("requests_minute", 3, 30, "provider"),
        Level("tokens_day", 850_000, 1_000_000, "configured"),
    )
    idle = Reading("groq", Totals(), Totals())
    busy = Reading("cerebras", Totals(), Totals(12, 3000, 400), levels, state="warn")
    assert published.usage_message(None) is None
    assert published.usage_message(Snapshot(0.0, {"groq": idle})) is None
    told = published.usage_message(Snapshot(0.0, {"groq": idle, "cerebras": busy}))
    assert told is not None
    assert json.loads(told) == {
        "schema": 1,
        "providers": [
            {
                "provider": "cerebras",
                "requests_today": 12,
                "tokens_today": 3400,
                "quota": "tokens_day",
                "used": 850_000,
                "limit": 1_000_000,
                "source": "configured",
                "state": "warn",
            }
        ],
    }


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
    published.count(answered_after(0.6), Budget(total_ms=500))
    after = [sample(name, **labels) for name, labels in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([0.6, 0.2, 1, 1])


def test_a_failed_turn_is_counted_without_a_time() -> None:
    builder = TurnBuilder(1)
    builder.fail(RuntimeError("no"))
    turn = builder.build()
    before = sample("voice_agent_voice_to_voice_seconds_count")
    published.count(turn, Budget())
    assert published.outcome(turn) == "failed"
    assert sample("voice_agent_voice_to_voice_seconds_count") == before
