"""One contract for every row of the provider table, each against a double that behaves as the provider documents."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator

import pytest
from livekit.agents import llm

from voice_agent.errors import (
    DeadlineError,
    ProviderAuthError,
    ProviderError,
    ProviderStreamError,
    ProviderUnavailableError,
    RateLimitedError,
)
from voice_agent.llm.choice import REASONING_ROOM
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.provider_table import PROVIDERS
from voice_agent.llm.request_builder import GZIP_FROM_BYTES
from voice_agent.llm.types import RequestDeadlines
from voice_agent.trace import GenerationTrace, generation

from .contract import endpoint, named, said
from .service_credentials import AWS, KEY, Google
from .services import Say, Service
from .test_client import context

ROWS = [*(row.name for row in PROVIDERS), "custom", "bedrock-sigv4"]


@pytest.fixture(params=ROWS)
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    name = request.param
    double = Service(name.removesuffix("-sigv4"), aws_signed=name.endswith("-sigv4"))
    async for one in double.serving():
        yield one


@pytest.fixture
async def client(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChatLLM]:
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


async def fails(client: ChatLLM, wanted: type[ProviderError], caplog: pytest.LogCaptureFixture) -> ProviderError:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(wanted) as caught:
        await said(client)
    assert type(caught.value) is wanted
    shown = f"{caught.value} {caught.value!r} {''.join(traceback.format_exception(caught.value))} {caplog.text}"
    assert KEY not in shown
    return caught.value


async def test_a_reply_with_what_the_provider_says_of_it(client: ChatLLM, service: Service) -> None:
    trace = GenerationTrace("g")
    with generation(trace):
        assert await said(client) == "Hello there."
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
    assert body["model"] == client.model
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
async def test_cuts_inside_characters(client: ChatLLM, service: Service, cut: int) -> None:
    service.say = Say(("Grüße, 你好 ", "🙂 und\nnoch eine Zeile."), cut=cut)
    assert await said(client) == "Grüße, 你好 🙂 und\nnoch eine Zeile."


async def test_no_done_line(client: ChatLLM, service: Service) -> None:
    service.say = Say(done=False)
    assert await said(client) == "Hello there."


async def test_a_truncated_stream(client: ChatLLM, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.say = Say(fail="truncated")
    error = await fails(client, ProviderStreamError, caplog)
    assert "hung up" in str(error)


async def test_an_error_in_mid_stream(client: ChatLLM, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.say = Say(fail="mid")
    wanted = RateLimitedError if service.name == "openrouter" else ProviderStreamError
    error = await fails(client, wanted, caplog)
    assert ("broke with none" if service.row.auth == "none" else "broke with") in str(error)


async def test_too_many_requests(client: ChatLLM, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.say = Say(fail="429")
    error = await fails(client, RateLimitedError, caplog)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == (3 if service.name in ("groq", "openai", "azure", "cerebras") else None)
    assert "Too many requests" in str(error)


async def test_a_broken_service(client: ChatLLM, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.say = Say(fail="500")
    await fails(client, ProviderUnavailableError, caplog)


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


async def test_a_tool_call_in_fragments(client: ChatLLM, service: Service) -> None:
    @llm.function_tool
    async def weather(city: str) -> str:
        """The weather."""
        return "sun"

    service.say = Say(("One moment. ",), tool=("weather", ['{"ci', 'ty": "Kö', 'ln"}']), cut=5)
    if service.name == "replicate":
        with pytest.raises(ProviderError, match="take no tools"):
            await said(client, tools=[weather])
        return
    answer = await client.chat(chat_ctx=context(), tools=[weather]).collect()
    (call,) = answer.tool_calls
    assert (call.name, call.arguments) == ("weather", '{"city": "Köln"}')
    assert ("strict" in service.bodies[0]["tools"][0]["function"]) is service.row.strict_tools


async def test_json_mode(client: ChatLLM, service: Service) -> None:
    service.say = Say(('{"answer":', " 4}"))
    assert await said(client, extra_kwargs={"response_format": {"type": "json_object"}}) == '{"answer": 4}'
    if service.name != "replicate":
        assert service.bodies[0]["response_format"] == {"type": "json_object"}


async def test_a_field_that_it_refuses_against_expectation(client: ChatLLM, service: Service) -> None:
    if service.name == "replicate":
        pytest.skip("its input has no such fields")
    service.refuse_once = "stream_options"
    assert await said(client) == "Hello there."
    assert await said(client) == "Hello there."
    assert ["stream_options" in body for body in service.bodies] == [True, False, False]


async def test_a_client_that_goes(client: ChatLLM, service: Service) -> None:
    service.say = Say(fail="hang")
    stream = client.chat(chat_ctx=context())
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


async def test_a_long_request_is_compressed_where_that_is_documented(client: ChatLLM, service: Service) -> None:
    ctx = context("word " * (GZIP_FROM_BYTES // 5))
    assert (await client.chat(chat_ctx=ctx).collect()).text == "Hello there."
    assert await said(client) == "Hello there."
    assert service.encodings == (["gzip", ""] if service.row.gzip else ["", ""])
