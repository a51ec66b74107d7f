"""Warm connections, and the model chosen from the served ones, on a real server."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from voice_agent.errors import ProviderAuthError, ProviderModelError, ProviderStreamError

from .conftest import CANARY, HELLO, FakeProvider, MakeLLM, chunk, event
from .test_client import context


async def test_no_new_connection_in_a_turn_after_warm(provider: FakeProvider, make_llm: MakeLLM) -> None:
    model = make_llm(warm=3)
    await model.warm()
    warm = set(provider.peers)
    assert len(warm) == 3
    assert model.connection.pool.idle == 3
    await asyncio.gather(*(model.chat(chat_ctx=context(str(n))).collect() for n in range(3)))
    assert len(set(provider.chat_peers)) == 3
    assert provider.peers == warm


async def test_a_cancelled_connection_is_replaced_in_the_background(provider: FakeProvider, make_llm: MakeLLM) -> None:
    model = make_llm(warm=3)
    await model.warm()
    provider.chat = provider.says(event(chunk("One ")), then="silence")
    stream = model.chat(chat_ctx=context())
    await anext(stream)
    await stream.aclose()
    await model.connection.pool.replaced()
    assert model.connection.pool.idle == 3
    assert len(provider.peers) == 4  # one was closed, one opened in its place
    known, provider.chat = set(provider.peers), provider.says(*HELLO)
    await asyncio.gather(*(model.chat(chat_ctx=context()).collect() for _ in range(3)))
    assert provider.peers == known


async def test_a_server_without_keep_alive_is_not_probed_for_ever(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.models = provider.answers(200, {"data": [{"id": "llama-3.3-70b"}]}, {"Connection": "close"})
    model = make_llm(warm=2)
    await model.warm()
    before = provider.model_requests
    await model.connection.pool.top_up()
    assert provider.model_requests == before


async def test_a_connection_that_died_while_idle_costs_a_repeat_not_the_turn(
    provider: FakeProvider, make_llm: MakeLLM
) -> None:
    async def drops(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.close()
        return web.Response()

    provider.chat = provider.in_turn(drops, provider.says(*HELLO))
    model = make_llm()
    assert (await model.chat(chat_ctx=context()).collect()).text == "Hello there."
    assert model.snapshot().requests == 2
    provider.chat = provider.in_turn(drops, drops)
    with pytest.raises(ProviderStreamError, match="hung up"):
        await model.chat(chat_ctx=context()).collect()


async def test_the_model_is_chosen_once_from_what_is_served(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.models = provider.serves("whisper-large-v3", "llama3.1-8b", "gpt-oss-120b")
    model = make_llm(model=None)
    assert model.model == "unknown"
    await model.chat(chat_ctx=context()).collect()
    await model.chat(chat_ctx=context()).collect()
    assert provider.model_requests == 1
    assert provider.bodies[0]["model"] == model.model == "llama3.1-8b"
    assert model.choice is not None
    assert "no Llama 70B is served" in model.choice.reason


async def test_a_model_that_is_not_served(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.models = provider.serves("alpha-chat", "beta-chat")
    with pytest.raises(ProviderModelError, match="alpha-chat, beta-chat"):
        await make_llm(model="gamma").warm()


async def test_an_endpoint_without_a_list_of_models(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.models = provider.answers(404, {"detail": "Not Found"})
    choice = await make_llm(model="mine").warm()
    assert choice.model == "mine"
    assert "does not say" in choice.reason
    with pytest.raises(ProviderModelError, match=r"llm\.model"):
        await make_llm(model=None).warm()


async def test_a_wrong_key_is_told_before_the_first_turn(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.models = provider.answers(401, {"error": {"message": f"Wrong key {CANARY}"}})
    with pytest.raises(ProviderAuthError) as caught:
        await make_llm().warm()
    assert CANARY not in str(caught.value)
