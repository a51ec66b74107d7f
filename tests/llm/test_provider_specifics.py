"""What only some providers need: Google's and AWS's credentials, quotas, room to reason, refused compression."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from pathlib import Path

import pytest

from voice_agent import meter
from voice_agent.config import MeterConfig
from voice_agent.errors import (
    ConfigError,
    ProviderStreamError,
    RateLimitedError,
)
from voice_agent.llm.choice import REASONING_ROOM, Choice
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.provider_table import BY_NAME
from voice_agent.llm.request_builder import GZIP_FROM_BYTES
from voice_agent.llm.types import Endpoint

from .contract import endpoint, said
from .service_credentials import AWS, KEY, REGION, Google
from .services import Say, Service
from .test_client import context


async def test_googles_tokens_are_renewed() -> None:
    async for service in Service("vertex").serving():
        found = Google()
        model = ChatLLM(endpoint(service), warm_connections=0, credentials=found)
        await said(model)
        await said(model)
        await model.aclose()
        assert found.renewed == 2
        assert service.tokens == [f"Bearer ya29.{KEY}-token-{n}" for n in (1, 2)]


async def test_what_is_counted_and_what_is_refused(tmp_path: Path) -> None:
    async for service in Service("cerebras").serving():
        service.extra_headers = {
            "x-ratelimit-limit-tokens-day": "1000",
            "x-ratelimit-remaining-tokens-day": "150",
            "x-ratelimit-reset-tokens-day": "3600",
        }
        with meter.opened(MeterConfig(at_limit="refuse"), tmp_path / "meter.sqlite") as counting:
            assert counting is not None
            model = ChatLLM(endpoint(service), warm_connections=0, meter=counting)
            assert await said(model) == "Hello there."
            assert await asyncio.to_thread(counting.flush)
            reading = counting.snapshot().providers["cerebras"]
            assert (reading.day.requests, reading.day.prompt_tokens, reading.day.completion_tokens) == (1, 12, 3)
            assert (reading.state, [level.share for level in reading.levels]) == ("warn", [0.85])
            service.say = Say(fail="truncated")
            with pytest.raises(ProviderStreamError):
                await said(model)
            service.extra_headers["x-ratelimit-remaining-tokens-day"] = "0"
            service.say = Say()
            await said(model)
            assert await asyncio.to_thread(counting.flush)
            day = counting.snapshot().providers["cerebras"].day
            assert (day.requests, day.completion_tokens) == (3, 3 + 2 + 3)  # the broken one's are estimated
            asked = len(service.bodies)
            with pytest.raises(RateLimitedError, match=r"1,000 of 1,000 tokens a day are used"):
                await said(model)
            assert len(service.bodies) == asked
            await model.aclose()


async def test_a_reasoning_model_has_room_to_reason() -> None:
    async for service in Service("cerebras").serving():
        model = ChatLLM(endpoint(service, model="llama-3.3-70b"), warm_connections=0)
        await said(model)
        model.connection.choice = Choice("gpt-oss-120b", "test")
        await said(model)
        await model.aclose()
        plain, reasoning = service.bodies
        assert (plain["max_completion_tokens"], "reasoning_effort" in plain) == (220, False)
        assert (reasoning["max_completion_tokens"], reasoning["reasoning_effort"]) == (220 + REASONING_ROOM, "low")


async def test_compression_that_is_refused_is_left_out() -> None:
    async for service in Service("cerebras").serving():
        service.no_gzip = True
        model = ChatLLM(endpoint(service), warm_connections=0)
        ctx = context("word " * (GZIP_FROM_BYTES // 5))
        for _ in range(2):
            assert (await model.chat(chat_ctx=ctx).collect()).text == "Hello there."
        await model.aclose()
        assert service.encodings == ["gzip", "", ""]


@pytest.mark.parametrize(("module", "extra"), [("botocore", "bedrock"), ("google.auth", "vertex")])
def test_a_missing_library_is_named(module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    row = BY_NAME[extra]
    with pytest.raises(ConfigError, match=rf"voice-agent\[{extra}\]"):
        ChatLLM(Endpoint(row, f"https://bedrock-mantle.{REGION}.api.aws/v1", None, "m", False, extra))


def test_googles_credentials_stay_with_google() -> None:
    with pytest.raises(ConfigError, match=r"not sent to evil\.example"):
        ChatLLM(Endpoint(BY_NAME["vertex"], "https://evil.example/v1", None, "m", False, "vertex"))


def test_what_botocore_signs_is_not_logged() -> None:
    ChatLLM(
        Endpoint(BY_NAME["bedrock"], f"https://bedrock-mantle.{REGION}.api.aws/v1", None, "m", False, "b"),
        credentials=AWS,
    )
    assert not logging.getLogger("botocore.auth").isEnabledFor(logging.DEBUG)
