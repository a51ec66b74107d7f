"""The provider and the LiveKit server: there, not there, with the wrong key. Nothing is mocked but the provider."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from voice_agent.config import Config, LlmConfig, Secret
from voice_agent.doctor import services
from voice_agent.doctor.finding import DoctorCheck, Finding, KeyLookup, Status, examine

from .conftest import CANARY, Provider


def keys(**values: str) -> KeyLookup:
    known: Mapping[str, Secret] = {name: Secret(value) for name, value in values.items()}
    return known.get


def asked(config: LlmConfig, lookup: KeyLookup | None = None) -> list[Finding]:
    whole = dataclasses.replace(Config(), llm=config)
    return examine([DoctorCheck("services", "provider", lambda: services.provider(whole, lookup or keys()))])


def closed_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class TestProvider:
    def test_one_that_works(self, provider: Provider) -> None:
        reached, words = asked(LlmConfig(base_url=provider.url, api_key=Secret(provider.key)))
        assert reached.status is Status.OK
        assert reached.facts["model"] == "llama-3.3-70b"
        assert words.name == "first words"
        assert words.facts["simulated"] is False
        assert provider.asked == 1

    def test_a_wrong_key_is_told_and_not_shown(self, provider: Provider) -> None:
        (found,) = asked(LlmConfig(base_url=provider.url, api_key=Secret(CANARY)))
        assert found.status is Status.FAILED
        assert "refused the key (401)" in found.text
        assert "llm.api_key" in found.advice
        assert CANARY not in repr(found)

    def test_a_model_that_is_not_served(self, provider: Provider) -> None:
        (found,) = asked(LlmConfig(base_url=provider.url, api_key=Secret(provider.key), model="gpt-9"))
        assert found.status is Status.FAILED
        assert "does not serve 'gpt-9'" in found.text
        assert "llama-3.3-70b" in found.advice

    def test_nobody_there(self) -> None:
        (found,) = asked(LlmConfig(base_url=f"http://127.0.0.1:{closed_port()}/v1"))
        assert found.status is Status.FAILED
        assert "no connection" in found.text
        assert found.advice

    def test_no_key(self) -> None:
        (found,) = asked(LlmConfig(provider="groq"))
        assert found.status is Status.FAILED
        assert found.text == "groq needs a key: set GROQ_API_KEY (or llm.api_key), or use --llm embedded"

    def test_a_simulation_is_called_one(self) -> None:
        _, words = asked(LlmConfig(spec="sim:ttft=20ms"))
        assert "(simulated)" in words.text
        assert words.facts["simulated"] is True


def livekit_says(lookup: KeyLookup) -> Finding:
    (found,) = services.livekit(lookup)
    return found


class TestLiveKit:
    def test_not_configured(self) -> None:
        assert livekit_says(keys()).status is Status.SKIPPED

    @pytest.mark.parametrize("url", ["somewhere", "ftp://host", "wss://", "ws://host:port", f"x{CANARY}"])
    def test_no_address(self, url: str) -> None:
        found = livekit_says(keys(LIVEKIT_URL=url))
        assert found.status is Status.FAILED
        assert "LIVEKIT_URL" in found.advice
        assert CANARY not in repr(found)

    def test_no_key(self) -> None:
        found = livekit_says(keys(LIVEKIT_URL="ws://127.0.0.1:9", LIVEKIT_API_KEY="k"))
        assert found.text == "LIVEKIT_API_SECRET not set"

    def test_nobody_there(self) -> None:
        url = f"ws://127.0.0.1:{closed_port()}"
        found = livekit_says(keys(LIVEKIT_URL=url, LIVEKIT_API_KEY="k", LIVEKIT_API_SECRET=CANARY * 3))
        assert (found.status, found.text) == (Status.FAILED, f"{url}: no connection")
        assert CANARY not in repr(found)

    @pytest.mark.e2e
    def test_a_real_server(self, livekit: Any) -> None:
        right = livekit.environment
        found = livekit_says(keys(**right))
        assert found.status is Status.OK, found
        assert "token accepted" in found.text
        wrong = livekit_says(keys(**right | {"LIVEKIT_API_SECRET": CANARY * 3}))
        assert wrong.status is Status.FAILED
        assert "refuses our token (401)" in wrong.text
        assert CANARY not in repr(wrong)
