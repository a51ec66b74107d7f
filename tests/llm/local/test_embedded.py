"""The real SmolLM2 from its package, on llama.cpp."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from livekit.agents.llm import ChatContext

from voice_agent.config import LlmConfig, models
from voice_agent.errors import ModelError
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.endpoints import resolve
from voice_agent.llm.local.embedded import CHAT_SLOT, EmbeddedModel
from voice_agent.llm.start import running
from voice_agent.llm.types import RequestDeadlines
from voice_agent.trace import GenerationTrace, generation

from ..test_client import context

PROMPT = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
# A busy machine may take seconds to read a prompt; these tests check content, not time.
PATIENT = RequestDeadlines(first_content_s=60, stall_s=60, total_s=120)


@pytest.fixture(scope="module")
def model() -> Iterator[EmbeddedModel]:
    with EmbeddedModel.shared(models.smollm2()) as loaded:
        yield loaded


def ends(model: EmbeddedModel, text: str) -> float:
    top = model.next_token_logprobs(PROMPT + text, top=300)
    return math.log(sum(math.exp(p) for token, p in top if token.strip() in (".", "?", "!")) + 1e-9)


def test_the_end_of_turn_models_probabilities(model: EmbeddedModel) -> None:
    top = model.next_token_logprobs(PROMPT + "What time does the train leave", top=20)
    assert len(top) == 20
    values = [value for _, value in top]
    assert values == sorted(values, reverse=True)
    assert sum(math.exp(value) for value in values) <= 1.0001
    assert ends(model, "What is the capital of France") > ends(model, "What is the capital of the")


def test_one_load_serves_both(model: EmbeddedModel) -> None:
    before = model.next_token_logprobs(PROMPT + "still", top=3)
    with EmbeddedModel.shared(models.smollm2()) as again:
        assert again is model
    after = model.next_token_logprobs(PROMPT + "still", top=3)  # closed once, used twice
    assert [token for token, _ in after] == [token for token, _ in before]


async def test_chat_and_end_of_turn_model_at_the_same_time(model: EmbeddedModel) -> None:
    llm = ChatLLM(model.endpoint(resolve(LlmConfig(spec="embedded"), lambda name: None)), deadlines=PATIENT)
    await llm.warm()
    assert "SmolLM2" in llm.model
    trace = GenerationTrace("g")
    with generation(trace):
        stream = llm.chat(chat_ctx=context("Tell me a long story about the sea."), extra_kwargs={"max_tokens": 150})
    await anext(stream)
    answering = asyncio.create_task(stream.collect())
    scored = 0
    while not answering.done():
        await asyncio.to_thread(model.next_token_logprobs, PROMPT + "And then " + "so " * scored, 10)
        scored += 1
    assert scored > 3  # no score waited for the end of the answer
    assert len((await answering).text) > 100
    assert trace.facts["completion_tokens"] > 20
    assert trace.facts["prompt_ms"] > 0
    await stream.aclose()
    await llm.aclose()


async def test_cancelling_frees_the_slot(model: EmbeddedModel) -> None:
    llm = ChatLLM(model.endpoint(resolve(LlmConfig(spec="embedded"), lambda name: None)), deadlines=PATIENT)
    stream = llm.chat(chat_ctx=context("Count to one thousand."), extra_kwargs={"max_tokens": 3000, "ignore_eos": True})
    await anext(stream)
    root = model.serve().removesuffix("/v1")

    def busy() -> bool:
        request = urllib.request.Request(root + "/slots", headers={"Authorization": f"Bearer {model.api_key.reveal()}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(json.load(answer)[CHAT_SLOT]["is_processing"])

    assert await asyncio.to_thread(busy)
    await stream.aclose()
    async with asyncio.timeout(20):  # 3,000 tokens would take longer
        while await asyncio.to_thread(busy):  # noqa: ASYNC110 - the state is another thread's or process's
            await asyncio.sleep(0.02)
    assert llm.snapshot().cancelled == 1
    await llm.aclose()


def test_the_server_is_ours_alone(model: EmbeddedModel) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
    with pytest.raises(urllib.error.HTTPError, match="401") as caught:
        urllib.request.urlopen(f"{model.serve()}/chat/completions", data=body, timeout=10)
    caught.value.close()
    assert model.api_key.reveal() not in repr(model.endpoint(resolve(LlmConfig(), lambda name: None)))


async def test_prefilled_instructions_are_not_read_again(model: EmbeddedModel) -> None:
    instructions = "You are a voice assistant in a library. " + "Answer in one short sentence. " * 12
    model.prefill(instructions)
    llm = ChatLLM(model.endpoint(resolve(LlmConfig(spec="embedded"), lambda name: None)), deadlines=PATIENT)
    ctx, trace = ChatContext.empty(), GenerationTrace("g")
    ctx.add_message(role="system", content=instructions)
    ctx.add_message(role="user", content="What time do you open?")
    with generation(trace):
        await llm.chat(chat_ctx=ctx, extra_kwargs={"max_tokens": 4}).collect()
    await llm.aclose()
    assert trace.facts["prompt_tokens"] > 80
    assert trace.facts["prompt_tokens"] - trace.facts.get("prompt_cached_tokens", 0) < 25


def test_a_prompt_that_is_too_long(model: EmbeddedModel) -> None:
    with pytest.raises(ModelError, match="shorten"):
        model.next_token_logprobs("word " * 6000)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        EmbeddedModel(tmp_path / "none.gguf")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"bad\.gguf"):
        EmbeddedModel(bad)


def test_closing_unloads_it_and_ends_its_threads() -> None:
    before = threading.active_count()
    small = EmbeddedModel(models.smollm2(), n_ctx=512)
    url = small.serve()
    small.close()
    assert threading.active_count() == before
    with pytest.raises(ModelError, match="closed"):
        small.next_token_logprobs("x")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url.removesuffix("/v1") + "/health", timeout=5)


async def test_closing_in_the_middle_of_an_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(EmbeddedModel, "CLOSE_WAIT_S", 0.05)
    small = EmbeddedModel(models.smollm2(), n_ctx=2048)
    llm = ChatLLM(small.endpoint(resolve(LlmConfig(spec="embedded"), lambda name: None)), deadlines=PATIENT)
    stream = llm.chat(chat_ctx=context("Count to one thousand."), extra_kwargs={"max_tokens": 1500, "ignore_eos": True})
    await anext(stream)
    small.close()
    assert "still answering" in caplog.text  # it was in mid-answer, and close came back
    assert (await anext(stream)).delta is not None  # the client is not cut off either
    await stream.aclose()
    await llm.aclose()


async def test_closing_beside_idle_connections(caplog: pytest.LogCaptureFixture) -> None:
    small = EmbeddedModel(models.smollm2(), n_ctx=512)
    llm = ChatLLM(small.endpoint(resolve(LlmConfig(spec="embedded"), lambda name: None)), deadlines=PATIENT)
    await llm.warm()
    assert llm.connection.pool.idle == 3
    small.close()
    assert "still answering" not in caplog.text
    await llm.aclose()


def test_running_gives_an_address() -> None:
    embedded = resolve(LlmConfig(spec="embedded"), lambda name: None)
    with running(embedded, models.smollm2) as ready:
        assert ready.base_url.startswith("http://127.0.0.1:")
        assert ready.api_key is not None
    sim = resolve(LlmConfig(spec="sim:ttft=1ms"), lambda name: None)
    with running(sim, models.smollm2) as ready:
        assert ready.simulated
        assert ready.base_url.startswith("http://127.0.0.1:")
    remote = resolve(LlmConfig(provider="ollama"), lambda name: None)
    with running(remote, models.smollm2) as ready:
        assert ready is remote


@pytest.mark.parametrize("hang_up", [False, True], ids=["", "after a hang-up"])
async def test_a_shortened_conversation_is_read_ahead(
    model: EmbeddedModel, hang_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may have closed the idle connection: it does so after a hundred requests."""
    llm = ChatLLM(
        model.endpoint(resolve(LlmConfig(spec="embedded"), lambda name: None)),
        deadlines=PATIENT,
        max_completion_tokens=4,
        context_tokens=220,
    )
    read, post, lost = list[Any](), llm.connection.client.post, 0

    async def reading(path: str, *, cast_to: Any, **more: Any) -> Any:
        nonlocal lost
        if "stream" not in more and hang_up and not lost:
            lost += 1
            raise openai.APIConnectionError(request=httpx2.Request("POST", llm.endpoint.base_url))
        if "stream" not in more:
            read.append(more["body"])
        return await post(path, cast_to=cast_to, **more)

    monkeypatch.setattr(llm.connection.client, "post", reading)
    try:
        ctx, facts = context("What can I cook with two eggs?"), []
        for turn in range(8):
            trace = GenerationTrace(str(turn))
            with generation(trace):
                stream = llm.chat(chat_ctx=ctx)
            await stream.collect()
            cached = trace.facts.get("prompt_cached_tokens", 0)
            facts.append((trace.facts["prompt_tokens"], cached, llm.memory.window.drops))
            await llm.memory.settled()
            ctx.add_message(role="assistant", content=f"Number {turn}: you could make a good omelette with some rice.")
            ctx.add_message(role="user", content=f"And what else, for the {turn}th time?")
        drops = [now - before for (_, _, before), (_, _, now) in itertools.pairwise(facts)]
        assert sum(drops) >= 1
        assert lost == hang_up
        assert read
        # Each new prompt shares all but the last answer and question with what has been read, also after a drop.
        assert all(prompt - cached < 60 for prompt, cached, _ in facts[1:]), facts
    finally:
        await llm.aclose()
