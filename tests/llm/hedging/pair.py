"""Two scripted providers behind a :class:`HedgedLLM`, for tests in virtual time."""

from __future__ import annotations

from typing import Any

from voice_agent.clock import Clock
from voice_agent.config import DegradationConfig
from voice_agent.llm.hedging.hedge import HedgedLLM
from voice_agent.llm.sim_spec import parse_spec
from voice_agent.testing.doubles import Reply, ScriptedLLM, ScriptedProvider
from voice_agent.trace import GenerationTrace, generation

from ..test_client import context

FIRST, SECOND = "First speaking, and quite at length.", "Second speaking, and quite at length."


def provider(text: str, pace: str, **reply: Any) -> ScriptedProvider:
    return ScriptedProvider(lambda _: Reply(text, **reply), pace=parse_spec(pace))


class HedgedPair:
    """Two scripted providers behind a HedgedLLM. A call requests answers; it returns the last text and its trace."""

    def __init__(
        self, clock: Clock, first: str, second: str | None, *, short: int | None = None, swap: bool = False, **more: Any
    ) -> None:
        self.clock = clock
        self.first = provider(FIRST, first, **more)
        self.second = provider(SECOND, second, **more) if second is not None else None
        self.models = [ScriptedLLM(p, clock=clock) for p in (self.first, self.second) if p is not None]
        self.config = DegradationConfig()
        self.hedged: HedgedLLM | None = None
        self.short, self.swap = short, swap

    async def __call__(
        self, config: DegradationConfig, times: int = 1, tools: Any = None
    ) -> tuple[str, GenerationTrace]:
        if self.hedged is None:
            second = self.models[1] if len(self.models) > 1 else None
            self.hedged = HedgedLLM(self.models[0], second, config=config, clock=self.clock)
            models = self.hedged.models
            models.short_tokens, models.second_first = self.short, self.swap
        trace = GenerationTrace("outer", self.clock)
        text = ""
        for _ in range(times):
            trace = GenerationTrace("outer", self.clock)
            with generation(trace):
                stream = self.hedged.chat(chat_ctx=context(), tools=tools or [])
            text = (await stream.collect()).text
        return text, trace


FAST = "sim:ttft=100ms,tps=1000"
STALLED = "sim:ttft=3s,tps=1000"
