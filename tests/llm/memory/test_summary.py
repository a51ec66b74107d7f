"""Dropped turns are summarised in the background: in virtual time, with a scripted provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import llm

from voice_agent.clock import Clock
from voice_agent.config import LlmConfig, MeterConfig, Secret
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.endpoints import resolve
from voice_agent.llm.memory.summary import TRIES, transcript
from voice_agent.llm.memory.window import ContextWindow, tokens_of
from voice_agent.llm.quota_account import QuotaAccount
from voice_agent.llm.sim_spec import parse_spec
from voice_agent.meter import UsageMeter
from voice_agent.testing.doubles import Reply, ScriptedLLM, ScriptedProvider, run
from voice_agent.trace import GenerationTrace, generation

LIMIT = 500
SUMMARY = "Ann wants a table for two on Friday; the time is open."
QUESTION = "And what about the other one that we spoke of before?"
PACE = parse_spec("sim:ttft=100ms,tps=1000")


class Call:
    """A conversation of ``turns``; the answer counts as spoken for ``spoken_s``."""

    def __init__(self, clock: Clock, summary: Callable[[str], Reply], when: str = "on") -> None:
        self.provider = ScriptedProvider(lambda _: Reply("That one is the green one. " * 3), pace=PACE)
        self.provider.background_reply = summary
        self.model = ScriptedLLM(self.provider, clock=clock)
        self.model.memory.window = ContextWindow(LIMIT)
        self.model.memory.summaries.mode = when  # type: ignore[assignment]  # one of the three
        self.ctx = llm.ChatContext.empty()
        self.ctx.add_message(role="system", content="Be brief.")
        self.traces: list[GenerationTrace] = []
        self.took_s: list[float] = []
        self.clock = clock

    async def talk(self, turns: int, spoken_s: float = 2.0) -> None:
        for _ in range(turns):
            self.ctx.add_message(role="user", content=QUESTION)
            trace, began = GenerationTrace("turn", self.clock), self.clock.now()
            with generation(trace):
                answer = await self.model.chat(chat_ctx=self.ctx).collect()
            self.took_s.append(trace.marks["llm_first_content"] - began)
            self.traces.append(trace)
            self.ctx.add_message(role="assistant", content=answer.text)
            await asyncio.sleep(spoken_s)
            assert sum(map(tokens_of, self.model.memory.window.view(self.ctx).items)) <= self.model.memory.window.limit

    @property
    def head(self) -> str:
        item = self.model.memory.window.view(self.ctx).items[0]
        assert item.type == "message"
        return item.text_content or ""


def called(main: Callable[[Clock], Any]) -> Any:
    return run(main)


def test_it_is_made_while_the_answer_is_spoken_and_sent_from_then_on() -> None:
    async def main(clock: Clock) -> None:
        call = Call(clock, lambda _: Reply(SUMMARY))
        await call.talk(12)
        assert call.model.memory.window.drops == call.model.memory.summaries.made == 1
        assert call.head.startswith("Be brief.")
        assert call.head.endswith(SUMMARY)
        assert call.took_s == pytest.approx([0.1] * 12, abs=1e-3)  # no turn waited
        await call.talk(12)
        assert call.model.memory.summaries.made == call.model.memory.window.drops > 1
        assert "User: And what about" in call.provider.background_requests[0]
        assert call.provider.background_requests[1].startswith(f"Before: {SUMMARY}\n")  # the second has the first in it
        first = call.ctx.items[0]
        assert first.type == "message"
        assert first.text_content == "Be brief."  # nothing of it is in the conversation itself

    called(main)


def test_its_tokens_are_the_meters_and_no_turns(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        meter = UsageMeter(MeterConfig(), tmp_path / "m.sqlite", clock=clock)
        call = Call(clock, lambda _: Reply(SUMMARY))
        call.model.connection.account = QuotaAccount(meter, "simulated", "openai")
        await call.talk(12)
        assert meter.flush()
        used, mine = meter.snapshot().session["simulated"], call.model.memory.summaries.tokens
        turns = [trace.facts for trace in call.traces]
        spoken = sum(facts["prompt_tokens"] + facts["completion_tokens"] for facts in turns)
        assert mine > 100
        assert used.tokens == spoken + mine
        assert used.requests == 13
        assert call.model.snapshot().requests == 12
        assert call.model.snapshot().tokens_received == sum(facts["completion_tokens"] for facts in turns)
        meter.close()

    called(main)


@pytest.mark.parametrize("bad", ["sim:ttft=50ms,error=503", "sim:ttft=50ms,error=midstream", "sim:ttft=60s"])
def test_if_it_fails_the_part_is_dropped_without(bad: str) -> None:
    async def main(clock: Clock) -> None:
        call = Call(clock, lambda _: Reply(SUMMARY, pace=parse_spec(bad)))
        await call.talk(24, spoken_s=6.0)
        assert call.model.memory.window.drops == call.model.memory.summaries.failed > 1
        assert call.head == "Be brief."
        assert call.took_s == pytest.approx([0.1] * 24, abs=1e-3)

    called(main)


def test_the_users_next_request_goes_first_and_it_is_asked_for_again() -> None:
    async def main(clock: Clock) -> None:
        call = Call(clock, lambda _: Reply(SUMMARY, pace=parse_spec("sim:ttft=1s,tps=1000")))
        call.model.memory.window.limit = 2000
        await call.talk(48, spoken_s=0.5)  # the user speaks sooner, again and again
        assert call.took_s == pytest.approx([0.1] * 48, abs=1e-3)
        assert len(call.provider.background_requests) == TRIES
        assert (call.model.memory.summaries.made, call.model.memory.summaries.failed) == (0, 1)
        assert call.model.memory.window.drops == 1
        await call.talk(30)
        assert call.model.memory.summaries.made == 1

    called(main)


def test_off_nobody_is_asked() -> None:
    async def main(clock: Clock) -> None:
        for when in ("off", "auto"):  # auto: a simulated model is no hosted one
            call = Call(clock, lambda _: Reply(SUMMARY), when)
            await call.talk(12)
            assert call.provider.background_requests == []
            assert call.model.memory.window.drops == 1

    called(main)


@pytest.mark.parametrize(
    ("provider", "enabled"),
    [
        ("cerebras", True),
        ("vertex", True),
        ("groq", True),
        ("ollama", False),
        ("llama.cpp", False),
        ("embedded", False),
    ],
)
async def test_auto_is_hosted_models_only(provider: str, enabled: bool) -> None:
    cfg = LlmConfig(spec=provider, model="m")
    if provider == "vertex":
        cfg = LlmConfig(provider="vertex", model="m", base_url="http://127.0.0.1:9/v1")
    model = ChatLLM(resolve(cfg, lambda _: Secret("k")), summarise="auto", credentials=object())
    assert model.memory.summaries.enabled is enabled
    await model.aclose()


def test_what_is_shown_to_the_model() -> None:
    ctx = llm.ChatContext.empty()
    ctx.add_message(role="user", content="x" * 5000)
    ctx.items.append(llm.FunctionCall(call_id="1", name="book", arguments='{"name": "Ann"}'))
    ctx.items.append(llm.FunctionCallOutput(call_id="1", name="book", output="booked", is_error=False))
    lines = transcript("Before that.", ctx.items).splitlines()
    assert lines[0] == "Before: Before that."
    assert len(lines[1]) < 1100
    assert lines[2:] == ['Tool book was called with {"name": "Ann"}', "Tool book said: booked"]
