"""Each way in which a provider fails, on a real server, with what the user is told."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback

import pytest

from voice_agent.errors import (
    DeadlineError,
    ProviderAuthError,
    ProviderError,
    ProviderModelError,
    ProviderStreamError,
    ProviderUnavailableError,
    RateLimitedError,
)

from .conftest import CANARY, FakeProvider, MakeLLM, chunk, event
from .test_client import context

ECHO = f"you sent Bearer {CANARY} and key {CANARY}"


async def fails(make_llm: MakeLLM, wanted: type[ProviderError], **limits: float) -> ProviderError:
    model = make_llm(**limits)
    await model.connection.choose()
    with pytest.raises(wanted) as caught:
        await model.chat(chat_ctx=context()).collect()
    assert type(caught.value) is wanted
    assert model.snapshot().failed == 1
    shown = f"{caught.value} {caught.value!r} {''.join(traceback.format_exception(caught.value))}"
    assert CANARY not in shown
    return caught.value


@pytest.mark.parametrize(
    ("status", "wanted", "advice"),
    [
        (401, ProviderAuthError, "check llm.api_key"),
        (403, ProviderAuthError, "check llm.api_key"),
        (402, ProviderAuthError, "account"),
        (404, ProviderModelError, "check llm.model and llm.base_url"),
        (400, ProviderError, "check llm.model"),
        (413, ProviderError, "new conversation"),
        (429, RateLimitedError, "ask later"),
        (500, ProviderUnavailableError, "try again"),
        (503, ProviderUnavailableError, "try again"),
        (504, ProviderUnavailableError, "took too long"),
    ],
)
async def test_status(
    provider: FakeProvider,
    make_llm: MakeLLM,
    caplog: pytest.LogCaptureFixture,
    status: int,
    wanted: type[ProviderError],
    advice: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.chat = provider.answers(status, {"error": {"message": ECHO}})
    error = await fails(make_llm, wanted)
    assert advice in str(error)
    assert str(status) in str(error)
    assert CANARY not in caplog.text


async def test_a_rate_limit_says_when(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.chat = provider.answers(429, {"error": {"message": "Slow down"}}, {"Retry-After": "7"})
    error = await fails(make_llm, RateLimitedError)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == 7
    assert "again in 7 s" in str(error)
    assert "Slow down" in str(error)
    assert error.retryable


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("code", [429, "429", "rate_limit_exceeded"])
async def test_a_wrapped_rate_limit(provider: FakeProvider, make_llm: MakeLLM, status: int, code: object) -> None:
    provider.chat = provider.answers(status, {"error": {"code": code, "message": "upstream"}})
    await fails(make_llm, RateLimitedError)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [(429, RateLimitedError), (502, ProviderUnavailableError), ("broken", ProviderStreamError)],
)
async def test_an_error_object_in_mid_stream(
    provider: FakeProvider, make_llm: MakeLLM, code: object, wanted: type[ProviderError]
) -> None:
    provider.chat = provider.says(event(chunk("Well ")), event({"error": {"code": code, "message": ECHO}}))
    await fails(make_llm, wanted)


@pytest.mark.parametrize("then", ["hang up", "end"])
async def test_a_hang_up_in_mid_stream(provider: FakeProvider, make_llm: MakeLLM, then: str) -> None:
    provider.chat = provider.says(event(chunk("Well ")), event(chunk("then ")), then=then)
    model = make_llm()
    stream = model.chat(chat_ctx=context())
    heard = [(await anext(stream)).delta for _ in range(2)]
    assert [delta.content for delta in heard if delta] == ["Well ", "then "]
    with pytest.raises(ProviderStreamError, match="hung up in mid-answer"):
        await anext(stream)
    assert model.snapshot().tokens_estimated == 3


async def test_silence_before_the_first_word(provider: FakeProvider, make_llm: MakeLLM) -> None:
    thinking = event(chunk(reasoning_content="Hmm."))
    provider.chat = provider.says(thinking, thinking, then="silence")
    error = await fails(make_llm, DeadlineError, first_content_s=0.15)
    assert isinstance(error, DeadlineError)
    assert error.deadline_s == 0.15
    assert "llm.first_content_timeout_s" in str(error)
    async with asyncio.timeout(5):
        await provider.disconnected.wait()


async def test_silence_in_mid_answer(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.chat = provider.says(event(chunk("Well ")), then="silence")
    error = await fails(make_llm, DeadlineError, stall_s=0.15)
    assert "further word" in str(error)
    async with asyncio.timeout(5):
        await provider.disconnected.wait()


async def test_an_answer_without_end(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.chat = provider.says(event(chunk("Well ")), then="silence")
    error = await fails(make_llm, DeadlineError, stall_s=60, total_s=0.15)
    assert "llm.total_timeout_s" in str(error)


@pytest.mark.parametrize(
    "body", [b"data: <html>no</html>\n\n", b"data: [1, 2]\n\n", b'data: {"choices": 7}\n\n', b"data: \xff\n\n"]
)
async def test_a_stream_of_something_else(provider: FakeProvider, make_llm: MakeLLM, body: bytes) -> None:
    provider.chat = provider.says(body)
    assert "/v1" in str(await fails(make_llm, ProviderStreamError))


async def test_a_page_instead_of_an_answer(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.chat = provider.answers(200, {"hello": "world"})
    await fails(make_llm, ProviderStreamError)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_nothing_to_speak(provider: FakeProvider, make_llm: MakeLLM, reason: str) -> None:
    provider.chat = provider.says(event(chunk("<think>on and on")), event(chunk(finish=reason)))
    await fails(make_llm, ProviderStreamError)


async def test_a_tool_call_cut_by_the_token_limit(provider: FakeProvider, make_llm: MakeLLM) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "pay", "arguments": '{"amount": 1'}}
    provider.chat = provider.says(event(chunk(tool_calls=[call])), event(chunk(finish="length")))
    assert "max_completion_tokens" in str(await fails(make_llm, ProviderStreamError))


async def test_nobody_listens(make_llm: MakeLLM) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(ProviderUnavailableError, match="check that the server runs"):
            await make_llm(base_url=url).chat(chat_ctx=context()).collect()


async def test_an_unknown_name(make_llm: MakeLLM) -> None:
    # .invalid never resolves (RFC 2606)
    with pytest.raises(ProviderUnavailableError, match=r"nobody\.invalid"):
        await make_llm(base_url="http://nobody.invalid/v1", model=None).warm()


async def test_https_where_the_server_speaks_http(provider: FakeProvider, make_llm: MakeLLM) -> None:
    url = provider.base_url.replace("http://", "https://")
    with pytest.raises(ProviderUnavailableError, match="TLS"):
        await make_llm(base_url=url, model=None).warm()
