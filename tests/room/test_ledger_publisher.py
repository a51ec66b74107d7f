"""What is sent to the participants of a room, and to which of them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import pytest
from livekit import rtc

from voice_agent.meter import Level, Reading, Snapshot, Totals
from voice_agent.room import ledger_publisher
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
    assert ledger_publisher.may_know(participant) is told


def test_a_providers_usage_is_told_with_its_nearest_limit() -> None:
    levels = (
        Level("requests_minute", 3, 30, "provider"),
        Level("tokens_day", 850_000, 1_000_000, "configured"),
    )
    idle = Reading("groq", Totals(), Totals())
    busy = Reading("cerebras", Totals(), Totals(12, 3000, 400), levels, state="warn")
    assert ledger_publisher.usage_message(None) is None
    assert ledger_publisher.usage_message(Snapshot(0.0, {"groq": idle})) is None
    told = ledger_publisher.usage_message(Snapshot(0.0, {"groq": idle, "cerebras": busy}))
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
