"""The same contract over every row of the table, each against a double that behaves as its provider documents."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import llm

from voice_agent import meter
from voice_agent.config import MeterConfig, Secret
from voice_agent.errors import (
    ConfigError,
    DeadlineError,
    ProviderAuthError,
    ProviderError,
    ProviderStreamError,
    ProviderUnavailableError,
    RateLimitedError,
)
from voice_agent.llm.choice import REASONING_ROOM, Choice
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.provider_table import BY_NAME, PROVIDERS
from voice_agent.llm.request_builder import GZIP_FROM_BYTES
from voice_agent.llm.types import Endpoint, RequestDeadlines
from voice_agent.trace import GenerationTrace, generation

from .services import AWS, KEY, REGION, Google, Say, Service
from .test_client import context

ROWS = [*(row.name for row in PROVIDERS), "custom", "bedrock-sigv4"]


@pytest.fixture(params=ROWS)
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    name = request.param
    double = Service(name.removesuffix("-sigv4"), aws_signed=name.endswith("-sigv4"))
    async for one in double.serving():
        yield one


def endpoint(service: Service, key: str | None = KEY, model: str | None = None) -> Endpoint:
    keyless = service.aws_signed or service.row.auth in ("google", "none")
    named = model or ("my-deployment" if service.name == "azure" else None)
    secret = None if keyless or key is None else Secret(key)
    return Endpoint(service.row, service.base_url, secret, named, False, service.name)


def named(service: Service) -> str:
    return service.row.default_model or "llama-3.3-70b"


@pytest.fixture
async def mind(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChatLLM]:
    monkeypatch.setenv("AWS_REGION", "us-west-2")  # loopback's name carries no region
    credentials = Google() if service.row.auth == "google" else AWS if service.aws_signed else None
    model = ChatLLM(
        endpoint(service),
        deadlines=RequestDeadlines(first_content_s=20, stall_s=20),
        warm_connections=0,
        credentials=credentials,
    )
    yield model
    await model.aclose()


async def said(mind: ChatLLM, **kwargs: Any) -> str:
    return (await mind.chat(chat_ctx=context(), **kwargs).collect()).text


async def fails(mind: ChatLLM, wanted: type[ProviderError], caplog: pytest.LogCaptureFixture) -> ProviderError:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(wanted) as caught:
        await said(mind)
    assert type(caught.value) is wanted
    shown = f"{caught.value} {caught.value!r} {''.join(traceback.format_exception(caught.value))} {caplog.text}"
    assert KEY not in shown
    return caught.value


async def test_a_reply_with_what_the_provider_says_of_it(mind: ChatLLM, service: Service) -> None:
    trace = GenerationTrace("g")
    with generation(trace):
        assert await said(mind) == "Hello there."
    (body,) = service.bodies
    if service.name == "replicate":
        assert body["input"] == {
            "prompt": "Hello?",
            "system_prompt": "Be brief.",
            "max_tokens": 220,
            "temperature": 0.6,
        }
        assert body["stream"] is True
        assert "completion_tokens" not in trace.facts
        return
    assert body["messages"][-1] == {"role": "user", "content": "Hello?"}
    assert body["model"] == mind.model
    assert not set(service.row.refuses) & set(body)
    assert ("prompt_cache_key" in body) is service.row.cache_key
    room = REASONING_ROOM if body.get("reasoning_effort") == "low" else 0  # thoughts count too
    assert body[service.row.max_tokens_field] == 220 + room
    assert (trace.facts["prompt_tokens"], trace.facts["completion_tokens"]) == (12, 3)
    if service.name in ("cerebras", "groq"):
        assert (trace.facts["queue_ms"], trace.facts["prompt_ms"], trace.facts["completion_ms"]) == (1.0, 2.0, 3.0)
    if service.name == "llama.cpp":
        assert (trace.facts["prompt_ms"], trace.facts["completion_ms"]) == (2.0, 3.0)


@pytest.mark.parametrize("cut", [1, 7])
async def test_cuts_inside_characters(mind: ChatLLM, service: Service, cut: int) -> None:
    service.say = Say(("Grüße, 你好 ", "🙂 und\nnoch eine Zeile."), cut=cut)
    assert await said(mind) == "Grüße, 你好 🙂 und\nnoch eine Zeile."


async def test_no_done_line(mind: ChatLLM, service: Service) -> None:
    service.say = Say(done=False)
    assert await said(mind) == "Hello there."


async def test_a_truncated_stream(mind: ChatLLM, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.say = Say(fail="truncated")
    error = await fails(mind, ProviderStreamError, caplog)
    assert "hung up" in str(error)


async def test_an_error_in_mid_stream(mind: ChatLLM, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.say = Say(fail="mid")
    wanted = RateLimitedError if service.name == "openrouter" else ProviderStreamError
    error = await fails(mind, wanted, caplog)
    assert ("broke with none" if service.row.auth == "none" else "broke with") in str(error)


async def test_too_many_requests(mind: ChatLLM, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.say = Say(fail="429")
    error = await fails(mind, RateLimitedError, caplog)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == (3 if service.name in ("groq", "openai", "azure", "cerebras") else None)
    assert "Too many requests" in str(error)


async def test_a_broken_service(mind: ChatLLM, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.say = Say(fail="500")
    await fails(mind, ProviderUnavailableError, caplog)


async def test_a_wrong_key(service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    if service.row.auth == "none" or service.name == "vertex" or service.aws_signed:
        pytest.skip("takes no key")
    wrong = f"{KEY}-wrong"
    model = ChatLLM(endpoint(service, wrong, model=named(service)), warm_connections=0)
    try:
        caplog.set_level(logging.DEBUG)
        with pytest.raises(ProviderAuthError) as caught:
            await said(model)
        assert (service.row.key_env or "llm.api_key") in str(caught.value)
        assert wrong not in f"{caught.value} {caplog.text}"
    finally:
        await model.aclose()


async def test_a_tool_call_in_fragments(mind: ChatLLM, service: Service) -> None:
    @llm.function_tool
    async def weather(city: str) -> str:
        """The weather."""
        return "sun"

    service.say = Say(("One moment. ",), tool=("weather", ['{"ci', 'ty": "Kö', 'ln"}']), cut=5)
    if service.name == "replicate":
        with pytest.raises(ProviderError, match="take no tools"):
            await said(mind, tools=[weather])
        return
    answer = await mind.chat(chat_ctx=context(), tools=[weather]).collect()
    (call,) = answer.tool_calls
    assert (call.name, call.arguments) == ("weather", '{"city": "Köln"}')
    assert ("strict" in service.bodies[0]["tools"][0]["function"]) is service.row.strict_tools


async def test_json_mode(mind: ChatLLM, service: Service) -> None:
    service.say = Say(('{"answer":', " 4}"))
    assert await said(mind, extra_kwargs={"response_format": {"type": "json_object"}}) == '{"answer": 4}'
    if service.name != "replicate":
        assert service.bodies[0]["response_format"] == {"type": "json_object"}


async def test_a_field_that_it_refuses_against_expectation(mind: ChatLLM, service: Service) -> None:
    if service.name == "replicate":
        pytest.skip("its input has no such fields")
    service.refuse_once = "stream_options"
    assert await said(mind) == "Hello there."
    assert await said(mind) == "Hello there."
    assert ["stream_options" in body for body in service.bodies] == [True, False, False]


async def test_a_client_that_goes(mind: ChatLLM, service: Service) -> None:
    service.say = Say(fail="hang")
    stream = mind.chat(chat_ctx=context())
    async with stream:
        while True:
            part = await anext(stream)
            if part.delta and part.delta.content:
                break
    async with asyncio.timeout(20):
        await service.gone.wait()
        if service.name == "replicate":
            await service.cancelled.wait()
    assert service.cancelled.is_set() is (service.name == "replicate")


async def test_silence(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.say = Say(fail="hang")
    if service.row.auth in ("google", "aws"):
        pytest.skip("the same client as the others once the request is sent")
    model = ChatLLM(
        endpoint(service, model=named(service)), deadlines=RequestDeadlines(stall_s=0.2), warm_connections=0
    )
    try:
        error = await fails(model, DeadlineError, caplog)
        assert "llm.stall_timeout_s" in str(error)
    finally:
        await model.aclose()


async def test_a_long_request_is_compressed_where_that_is_documented(mind: ChatLLM, service: Service) -> None:
    ctx = context("word " * (GZIP_FROM_BYTES // 5))
    assert (await mind.chat(chat_ctx=ctx).collect()).text == "Hello there."
    assert await said(mind) == "Hello there."
    assert service.encodings == (["gzip", ""] if service.row.gzip else ["", ""])


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
