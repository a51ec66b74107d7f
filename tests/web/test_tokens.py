from __future__ import annotations

import jwt
import pytest
from livekit import api

from voice_agent.clock import ManualClock
from voice_agent.config import Secret
from voice_agent.room.access import LiveKitAccess
from voice_agent.web.tokens import RateLimit, TokenIssuer

ACCESS = LiveKitAccess("ws://127.0.0.1:7880", "key", Secret("a secret that is thirty-two bytes"))


def issuer(agent_name: str = "agent-1", ledger: bool = True) -> TokenIssuer:
    return TokenIssuer(ACCESS, agent_name=agent_name, ttl_s=300, ledger=ledger)


def claims(token: str) -> dict[str, object]:
    found: dict[str, object] = jwt.decode(token, ACCESS.api_secret.reveal(), algorithms=["HS256"], issuer="key")
    return found


def test_a_token_grants_one_room_a_microphone_and_nothing_more() -> None:
    issued = issuer().issue()
    found = claims(issued.token)
    assert found["sub"] == issued.identity
    assert found["video"] == {
        "roomJoin": True,
        "room": issued.room,
        "canPublish": True,
        "canPublishSources": ["microphone"],
        "canSubscribe": True,
        "canPublishData": True,
        "canUpdateOwnMetadata": False,
    }
    assert found["attributes"] == {"voice_agent.ledger": "1"}
    assert not {"metadata", "sip", "kind", "agent", "inference"} & set(found)


def test_a_token_is_short_lived() -> None:
    found = claims(issuer().issue().token)
    expires, begins = found["exp"], found["nbf"]
    assert isinstance(expires, int)
    assert isinstance(begins, int)
    assert 299 <= expires - begins <= 301


def test_the_agent_is_dispatched_by_the_name_of_the_configuration() -> None:
    verified = api.TokenVerifier("key", ACCESS.api_secret.reveal()).verify(issuer("front-desk").issue().token)
    assert verified.room_config is not None
    assert [agent.agent_name for agent in verified.room_config.agents] == ["front-desk"]
    assert [agent.metadata for agent in verified.room_config.agents] == [""]
    unnamed = api.TokenVerifier("key", ACCESS.api_secret.reveal()).verify(issuer("").issue().token)
    assert unnamed.room_config is not None
    assert not unnamed.room_config.agents


def test_every_token_has_a_room_and_an_identity_of_its_own() -> None:
    tokens = [issuer().issue() for _ in range(50)]
    assert len({issued.room for issued in tokens}) == len({issued.identity for issued in tokens}) == 50
    assert all(len(issued.room) >= 32 for issued in tokens)


def test_the_ledger_can_be_kept_from_callers() -> None:
    assert "attributes" not in claims(issuer(ledger=False).issue().token)


def test_the_secret_is_in_no_token_and_no_repr() -> None:
    issued = issuer().issue()
    assert ACCESS.api_secret.reveal() not in f"{issued!r} {claims(issued.token)} {ACCESS!r}"


def test_a_client_may_start_so_many_calls_a_minute() -> None:
    clock = ManualClock()
    limit = RateLimit(client_per_minute=3, total_per_minute=100, clock=clock)
    assert [limit.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.take("a") == pytest.approx(20.0)
    assert limit.take("b") == 0.0
    clock.advance(19.9)
    assert limit.take("a") > 0
    clock.advance(0.2)
    assert limit.take("a") == 0.0
    assert limit.take("a") > 0


def test_all_together_may_start_so_many_and_the_refused_cost_nothing() -> None:
    clock = ManualClock()
    limit = RateLimit(client_per_minute=2, total_per_minute=3, clock=clock)
    assert [limit.take("a") > 0 for _ in range(10)] == [False, False] + [True] * 8
    assert limit.take("b") == 0.0
    assert limit.take("c") == pytest.approx(20.0)
    clock.advance(20.1)
    assert limit.take("c") == 0.0


def test_asking_for_the_wait_takes_nothing() -> None:
    limit = RateLimit(client_per_minute=1, total_per_minute=10, clock=ManualClock())
    assert [limit.wait("a") for _ in range(5)] == [0.0] * 5
    assert limit.take("a") == 0.0
    assert limit.wait("a") > 0


def test_it_remembers_a_bounded_number_of_clients() -> None:
    limit = RateLimit(client_per_minute=1, total_per_minute=1_000_000, clock=ManualClock(), remembered=100)
    for number in range(1000):
        limit.take(f"client {number}")
    assert len(limit) == 100
    assert limit.take("client 999") > 0
