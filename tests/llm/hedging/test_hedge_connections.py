"""Two requests, one answer, on real connections: what is closed, and what is counted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voice_agent.config import DegradationConfig
from voice_agent.errors import ProviderStreamError
from voice_agent.llm.hedging.hedge import HedgedLLM

from ..conftest import DONE, HELLO, FakeProvider, MakeLLM, chunk, event, usage
from ..test_client import context


async def test_the_loser_s_connection_is_closed(provider: FakeProvider, make_llm: MakeLLM) -> None:
    silent, speaking = provider.says(then="silence"), provider.says(*HELLO)
    provider.chat = provider.in_turn(silent, speaking)
    hedged = HedgedLLM(make_llm(), config=DegradationConfig(hedge_start_ms=120))
    stream = hedged.chat(chat_ctx=context())
    assert (await stream.collect()).text == "Hello there."
    async with asyncio.timeout(5):
        await provider.disconnected.wait()
    assert len(set(provider.chat_peers)) == 2  # not behind one another on one connection


async def test_closing_the_answer_closes_both_requests(provider: FakeProvider, make_llm: MakeLLM) -> None:
    closed: list[int] = []

    async def silent(request: Any) -> Any:
        try:
            return await provider.says(then="silence")(request)
        finally:
            closed.append(1)

    provider.chat = silent
    model = make_llm()
    hedged = HedgedLLM(model, config=DegradationConfig(hedge_start_ms=120))
    stream = hedged.chat(chat_ctx=context())
    async with asyncio.timeout(5):
        while len(provider.bodies) < 2:  # noqa: ASYNC110 - the state of a server
            await asyncio.sleep(0.01)
    await stream.aclose()
    async with asyncio.timeout(5):
        while len(closed) < 2:  # noqa: ASYNC110 - the state of a server
            await asyncio.sleep(0.01)
    assert model.snapshot().cancelled == 2


async def test_an_answer_that_breaks_off_is_an_error_as_ever(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.chat = provider.says(event(chunk("Hello ")), then="hang up")
    hedged = HedgedLLM(make_llm(), config=DegradationConfig())
    stream = hedged.chat(chat_ctx=context())
    first = await anext(stream)
    assert first.delta is not None
    assert first.delta.content == "Hello "
    with pytest.raises(ProviderStreamError, match="hung up"):
        await anext(stream)
    await stream.aclose()


async def test_usage_reaches_livekit_once(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.chat = provider.says(event(chunk("Hi.")), event(chunk(finish="stop")), event(usage(12, 3)), DONE)
    hedged = HedgedLLM(make_llm(), config=DegradationConfig())
    got = await hedged.chat(chat_ctx=context()).collect()
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (12, 3)
    assert hedged.snapshot().tokens == 15
