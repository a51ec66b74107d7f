from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from livekit.agents import llm
from livekit.agents.types import APIConnectOptions

from voice_agent.clock import ManualClock
from voice_agent.errors import ProviderError
from voice_agent.trace import GenerationTrace, generation

from .conftest import DONE, HELLO, FakeProvider, MakeLLM, chunk, event, usage


def context(text: str = "Hello?") -> llm.ChatContext:
    ctx = llm.ChatContext.empty()
    ctx.add_message(role="system", content="Be brief.")
    ctx.add_message(role="user", content=text)
    return ctx


async def test_a_reply_with_its_marks_and_facts(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.chat = provider.says(
        event(chunk(role="assistant", content="")),
        event(chunk(reasoning="The user greets me.")),
        event(chunk("<thi")),
        event(chunk("nk>secret thought</th")),
        event(chunk("ink>\n\n")),
        event(chunk("Hello ")),
        event(chunk("there.")),
        event(chunk(finish="stop")),
        event(usage(12, 30, time_info={"queue_time": 0.001, "prompt_time": 0.002, "completion_time": 0.0135})),
        DONE,
    )
    clock = ManualClock(5.0)
    model, trace = make_llm(), GenerationTrace("g", clock=clock)
    with generation(trace):
        stream = model.chat(chat_ctx=context())
    texts: list[str] = []
    async with stream:
        async for part in stream:
            if part.delta and part.delta.content:
                if not texts:
                    assert "llm_first_content" in trace.marks
                texts.append(part.delta.content)
    assert texts == ["Hello ", "there."]
    assert set(trace.marks) == {"llm_requested", "llm_first_content"}
    facts = trace.facts
    assert facts["provider"] == "custom"
    assert facts["model"] == "llama-3.3-70b"
    assert facts["simulated"] is False
    assert (facts["prompt_tokens"], facts["completion_tokens"]) == (12, 30)
    assert (facts["queue_ms"], facts["prompt_ms"], facts["completion_ms"]) == (1.0, 2.0, 13.5)
    assert facts["request_id"] == "req-1"
    snap = model.snapshot()
    assert (snap.requests, snap.completed, snap.cancelled, snap.failed) == (1, 1, 0, 0)
    assert (snap.tokens_received, snap.tokens_estimated) == (30, 0)


async def test_what_is_sent(provider: FakeProvider, make_llm: MakeLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-somebody")
    await make_llm().chat(chat_ctx=context("Hi")).collect()
    (body,) = provider.bodies
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["max_tokens"] == 220
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert "tools" not in body
    assert "openai-organization" not in {name.lower() for name in provider.headers[0]}


async def test_cancelling_closes_the_request_at_the_server(provider: FakeProvider, make_llm: MakeLLM) -> None:
    words = [event(chunk(word)) for word in ("One ", "two ", "three ")]
    provider.chat = provider.says(*words, then="silence")
    model, trace = make_llm(), GenerationTrace("g")
    with generation(trace):
        stream = model.chat(chat_ctx=context())
    heard = [part async for part in _until(stream, 3)]
    assert len(heard) == 3
    await stream.aclose()
    async with asyncio.timeout(5):
        await provider.disconnected.wait()
    assert trace.facts["completion_tokens_estimated"] == 4
    assert trace.facts["cancelled"] is True
    snap = model.snapshot()
    assert (snap.requests, snap.cancelled, snap.failed, snap.tokens_estimated) == (1, 1, 0, 4)


async def test_cancelling_before_the_first_byte_closes_it_too(provider: FakeProvider, make_llm: MakeLLM) -> None:
    asked = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            provider.disconnected.set()
            raise
        raise AssertionError

    provider.chat = waits
    model = make_llm()
    stream = model.chat(chat_ctx=context())
    async with asyncio.timeout(5):
        await asked.wait()
        await stream.aclose()
        await provider.disconnected.wait()
    assert model.snapshot().cancelled == 1


async def _until(stream: llm.LLMStream, count: int) -> Any:
    seen = 0
    async for part in stream:
        yield part
        seen += 1
        if seen == count:
            return


async def test_tool_calls_are_put_together(provider: FakeProvider, make_llm: MakeLLM) -> None:
    @llm.function_tool
    async def weather(city: str, days: int) -> str:
        """Forecast.

        Args:
            city: where
            days: how many
        """
        return f"{city} {days}"

    def part(index: int, call_id: str | None = None, name: str | None = None, arguments: str = "") -> bytes:
        fragment: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
        if call_id:
            fragment["id"] = call_id
        if name:
            fragment["function"]["name"] = name
        return event(chunk(tool_calls=[fragment]))

    provider.chat = provider.says(
        part(0, "a", "weather", ""),
        part(0, arguments='{"city": "Gr'),
        part(1, "b", "weather", '{"city"'),
        part(0, arguments='az", "days": 2}'),
        part(1, arguments=': "Linz", "days": 1}'),
        event(chunk(finish="tool_calls")),
        DONE,
    )
    trace = GenerationTrace("g")
    with generation(trace):
        stream = make_llm().chat(chat_ctx=context(), tools=[weather], tool_choice="auto")
    answer = await stream.collect()
    assert [(call.call_id, call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [
        ("a", "weather", {"city": "Graz", "days": 2}),
        ("b", "weather", {"city": "Linz", "days": 1}),
    ]
    (body,) = provider.bodies
    assert body["tools"][0]["function"]["name"] == "weather"
    assert body["tool_choice"] == "auto"
    assert "llm_first_content" not in trace.marks  # a tool call is no content


async def test_refused_fields_are_left_out_and_remembered(provider: FakeProvider, make_llm: MakeLLM) -> None:
    def refuse(message: str, **more: Any) -> Any:
        return provider.answers(400, {"error": {"message": message, **more}})

    provider.chat = provider.in_turn(
        refuse("Extra inputs are not permitted: stream_options"),
        refuse("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
        refuse("Unsupported value", param="temperature"),
        provider.says(*HELLO),
        provider.says(*HELLO),
    )
    model = make_llm()
    for _ in range(2):
        assert (await model.chat(chat_ctx=context()).collect()).text == "Hello there."
    assert len(provider.bodies) == 5
    last = provider.bodies[-1]
    assert "stream_options" not in last
    assert "temperature" not in last
    assert "max_tokens" not in last
    assert last["max_completion_tokens"] == 220
    assert model.snapshot().requests == 5


async def test_livekit_does_not_repeat_a_failed_request(provider: FakeProvider, make_llm: MakeLLM) -> None:
    provider.chat = provider.answers(503, {"error": {"message": "busy"}})
    model = make_llm()
    reported: list[llm.LLMError] = []
    model.on("error", reported.append)
    with pytest.raises(ProviderError):
        await model.chat(chat_ctx=context(), conn_options=APIConnectOptions(max_retry=5)).collect()
    assert len(provider.bodies) == 1
    assert [error.recoverable for error in reported] == [False]


async def test_a_server_that_does_not_stream(provider: FakeProvider, make_llm: MakeLLM) -> None:
    message = {"role": "assistant", "content": "All at once."}
    provider.chat = provider.answers(200, {"id": "x", "choices": [{"message": message, "finish_reason": "stop"}]})
    assert (await make_llm().chat(chat_ctx=context()).collect()).text == "All at once."


async def test_utf8_split_between_packets_and_done_missing(provider: FakeProvider, make_llm: MakeLLM) -> None:
    raw = event(chunk("Grüße, 世界!"))
    provider.chat = provider.says(
        b": comment\n\n", *(raw[i : i + 1] for i in range(len(raw))), event(chunk(finish="stop"))
    )
    assert (await make_llm().chat(chat_ctx=context()).collect()).text == "Grüße, 世界!"
