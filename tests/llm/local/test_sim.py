from __future__ import annotations

import asyncio

import pytest

from voice_agent.config import LlmConfig
from voice_agent.errors import (
    ConfigError,
    ProviderAuthError,
    ProviderError,
    ProviderModelError,
    ProviderStreamError,
    ProviderUnavailableError,
    RateLimitedError,
)
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.endpoints import resolve
from voice_agent.llm.local.sim import SimServer
from voice_agent.llm.local.sim_server import first_token_s
from voice_agent.llm.sim_spec import ERRORS, SimSpec, parse_spec
from voice_agent.trace import GenerationTrace, generation

from ..test_client import context


def test_spec() -> None:
    assert parse_spec("sim:ttft=170ms,tps=2314") == SimSpec(ttft_s=0.17, tps=2314)
    assert parse_spec("sim") == SimSpec()
    assert parse_spec("sim: ttft=1.5s, stall_at=3, stall=2s, every=4") == SimSpec(1.5, stall_at=3, stall_s=2, every=4)
    assert parse_spec("sim:error=hangup").error == "hangup"


def test_a_drawn_pace() -> None:
    spec = parse_spec("sim:ttft=lognormal(170ms, 0.4),stall=5%x3s,tps=2314,seed=7")
    assert spec == SimSpec(0.17, ttft_sigma=0.4, stall_share=0.05, stall_s=3.0, seed=7)
    assert "log-normal around 170 ms" in str(spec)
    drawn = [first_token_s(0.17, 0.4, 0.05, 3.0, 7, n) for n in range(4000)]
    assert drawn == [first_token_s(0.17, 0.4, 0.05, 3.0, 7, n) for n in range(4000)]
    quick = sorted(s for s in drawn if s < 3)
    assert 0.04 < 1 - len(quick) / len(drawn) < 0.06
    assert quick[len(quick) // 2] == pytest.approx(0.17, rel=0.05)
    assert quick[len(quick) * 9 // 10] == pytest.approx(0.17 * 2.718281828 ** (0.4 * 1.2816), rel=0.05)
    assert first_token_s(0.17, 0.0, 0.0, 3.0, 0, 1) == 0.17


@pytest.mark.parametrize(
    "text", ["sim:ttft=lognormal(170ms)", "sim:ttft=lognormal(170ms,9)", "sim:stall=5x3s", "sim:stall=500%x3s"]
)
def test_mistakes_in_a_drawn_pace(text: str) -> None:
    with pytest.raises(ConfigError, match=r"lognormal\(.*<share>%x"):
        parse_spec(text)


@pytest.mark.parametrize(
    "text",
    ["sim:ttft=170", "sim:ttft", "sim:speed=3", "sim:tps=0", "sim:tps=nan", "sim:error=418", "sim:every=0", "simulate",
     "sim:ttft=1s,ttft=2s", "sim:stall_at=-1", "sim:ttft=9999s"],
)  # fmt: skip
def test_spec_mistakes(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_spec(text)


def test_a_mistake_is_told_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"ttft=<duration>.*tps=.*stall_at=.*error="):
        parse_spec("sim:pace=1")


def client(server: SimServer, spec: str) -> ChatLLM:
    return ChatLLM(resolve(LlmConfig(spec=spec), lambda name: None).at(server.base_url), warm_connections=0)


async def test_replies_are_labelled_varied_and_repeatable() -> None:
    spec = "sim:ttft=1ms,tps=100000"
    with SimServer(parse_spec(spec)) as server:
        model = client(server, spec)
        trace = GenerationTrace("g")
        with generation(trace):
            stream = model.chat(chat_ctx=context("first"))
        first = (await stream.collect()).text
        assert (await model.chat(chat_ctx=context("first")).collect()).text == first
        texts = {(await model.chat(chat_ctx=context(str(n))).collect()).text for n in range(12)}
        assert len(texts) > 3
        assert trace.facts["simulated"] is True
        assert "simulated" in trace.facts["model"]
        assert trace.facts["completion_tokens"] > 10
        stats = await asyncio.to_thread(server.stats)
        assert (stats.requests, stats.cancelled, stats.completed) == (14, 0, 14)
        await model.aclose()


async def test_it_counts_cancelled_requests() -> None:
    spec = "sim:ttft=1ms,stall_at=2,stall=60s"
    with SimServer(parse_spec(spec)) as server:
        model = client(server, spec)
        stream = model.chat(chat_ctx=context())
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(5):
            while (await asyncio.to_thread(server.stats)).cancelled == 0:  # noqa: ASYNC110 - the state is another thread's or process's
                await asyncio.sleep(0.01)
        stats = await asyncio.to_thread(server.stats)
        assert (stats.requests, stats.cancelled, stats.completed) == (1, 1, 0)
        await model.aclose()


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        ("401", ProviderAuthError),
        ("404", ProviderModelError),
        ("429", RateLimitedError),
        ("wrapped429", RateLimitedError),
        ("500", ProviderUnavailableError),
        ("503", ProviderUnavailableError),
        ("midstream", ProviderUnavailableError),
        ("hangup", ProviderStreamError),
        ("notjson", ProviderStreamError),
    ],
)
async def test_errors_each_second_request(error: str, wanted: type[ProviderError]) -> None:
    assert error in ERRORS
    spec = f"sim:ttft=1ms,error={error},every=2"
    with SimServer(parse_spec(spec)) as server:
        model = client(server, spec)
        assert (await model.chat(chat_ctx=context()).collect()).text
        with pytest.raises(wanted):
            await model.chat(chat_ctx=context()).collect()
        await model.aclose()


def test_the_child_ends_when_closed() -> None:
    server = SimServer(SimSpec())
    server.close()
    assert server.exit_code == 0
    server.close()
