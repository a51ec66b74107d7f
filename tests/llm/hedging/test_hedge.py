"""Two requests, one answer, in virtual time with scripted providers."""

from __future__ import annotations

import asyncio

import pytest
from livekit.agents import llm

from voice_agent.clock import Clock
from voice_agent.config import DegradationConfig
from voice_agent.errors import DeadlineError, ProviderUnavailableError
from voice_agent.llm.hedging.hedge import HedgedLLM
from voice_agent.llm.sim_spec import parse_spec
from voice_agent.testing.doubles import run
from voice_agent.trace import GenerationTrace, generation

from ..test_client import context
from .pair import FAST, FIRST, SECOND, STALLED, HedgedPair


def test_an_answer_in_time_is_asked_for_once() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, FAST, FAST)
        text, trace = await pair(DegradationConfig())
        assert text == FIRST
        assert pair.second is not None
        assert (pair.first.requests, pair.second.requests) == (1, 0)
        assert "ladder" not in trace.facts

    run(main)


def test_a_late_one_is_asked_for_again_and_the_first_content_wins() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, STALLED, FAST)
        began = clock.now()
        text, trace = await pair(DegradationConfig(hedge_start_ms=400))
        assert text == SECOND
        assert trace.marks["llm_first_content"] - began == pytest.approx(0.5)
        assert trace.marks["llm_requested"] == pytest.approx(began)  # the wait began with the first request
        degradation_step = trace.facts["ladder"]["hedge"]
        assert degradation_step["won"] is True
        assert degradation_step["at_ms"] == pytest.approx(400)
        assert degradation_step["extra_tokens"] > 0
        assert trace.facts["completion_tokens"] > 5  # the winner's
        assert pair.hedged is not None
        counts = pair.hedged.snapshot()
        assert (counts.hedged, counts.won) == (1, 1)
        assert counts.extra_tokens == degradation_step["extra_tokens"]
        assert pair.models[0].snapshot().cancelled == 1
        assert pair.models[1].snapshot().completed == 1

    run(main)


def test_the_first_may_still_win_and_the_second_is_cancelled_and_counted() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=500ms,tps=1000", "sim:ttft=300ms,tps=1000")
        text, trace = await pair(DegradationConfig(hedge_start_ms=400))
        assert text == FIRST
        assert trace.facts["ladder"]["hedge"]["won"] is False
        assert trace.facts["ladder"]["hedge"]["extra_tokens"] > 0
        assert pair.models[1].snapshot().cancelled == 1

    run(main)


def test_without_a_second_provider_the_same_is_asked_twice() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=lognormal(100ms,0.01),stall=20%x3s,seed=3", None)
        seen = {"won": 0}
        for _ in range(40):
            _, trace = await pair(DegradationConfig(hedge_tokens=1.0))
            seen["won"] += trace.facts.get("ladder", {}).get("hedge", {}).get("won", False)
        assert pair.first.requests > 40
        assert seen["won"] > 0

    run(main)


def test_without_hedge_or_without_its_budget_there_is_one_request() -> None:
    async def main(clock: Clock) -> None:
        for config in (
            DegradationConfig(hedge=False),
            DegradationConfig(hedge_tokens=0.0),
            DegradationConfig(hedge_per_minute=0),
        ):
            pair = HedgedPair(clock, "sim:ttft=2s", FAST)
            text, _ = await pair(config)
            assert text == FIRST
            assert pair.second is not None
            assert pair.second.requests == 0

    run(main)


def test_calls_of_two_answers_are_those_of_one() -> None:
    """Both providers call the tool at the same instant: what is read, and carried out, is one call."""

    async def book() -> str:
        """Book a table."""
        return "booked"

    async def main(clock: Clock) -> None:
        calls: dict[str, dict[str, str]] = {"book": {}}
        for first, second in (("sim:ttft=600ms", "sim:ttft=200ms"), ("sim:ttft=601ms", "sim:ttft=200ms")):
            pair = HedgedPair(clock, first, second, calls=calls)
            pair.hedged = HedgedLLM(*pair.models, config=DegradationConfig(hedge_start_ms=400), clock=clock)
            stream = pair.hedged.chat(chat_ctx=context(), tools=[llm.function_tool(book)])
            got = await stream.collect()
            assert pair.second is not None
            assert (pair.first.requests, pair.second.requests) == (1, 1)
            assert [call.name for call in got.tool_calls] == ["book"]

    run(main)


def test_hedging_can_be_off_for_requests_with_tools() -> None:
    async def book() -> str:
        """Book a table."""
        return "booked"

    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=1s", FAST)
        text, _ = await pair(DegradationConfig(hedge_with_tools=False), tools=[llm.function_tool(book)])
        assert text == FIRST
        text, _ = await pair(DegradationConfig(hedge_with_tools=False))
        assert text == SECOND

    run(main)


def test_a_provider_that_fails_is_replaced_at_once() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=50ms,error=503", FAST)
        began = clock.now()
        text, trace = await pair(DegradationConfig())
        assert text == SECOND
        assert clock.now() - began < 0.3
        assert trace.facts["ladder"]["failed_over"]["error"] == "ProviderUnavailableError"
        assert trace.facts["provider"] == "simulated"

    run(main)


def test_the_same_provider_is_not_asked_again_after_an_error() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=50ms,error=503", None)
        with pytest.raises(ProviderUnavailableError):
            await pair(DegradationConfig())
        assert pair.first.requests == 1

    run(main)


def test_it_gives_up_at_its_deadline_and_cancels_both_requests() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, STALLED, STALLED)
        began = clock.now()
        with pytest.raises(DeadlineError, match=r"degradation\.give_up_ms"):
            await pair(DegradationConfig(give_up_ms=1500))
        assert clock.now() - began == pytest.approx(1.5)
        assert [model.snapshot().cancelled for model in pair.models] == [1, 1]

    run(main)


def test_the_expected_rest_follows_from_what_was_seen() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=lognormal(200ms,0.1),stall=20%x3s,seed=5", None)
        config = DegradationConfig(hedge=False)
        await pair(config, times=40)
        assert pair.hedged is not None
        pair.first.pace = parse_spec(STALLED)
        trace = GenerationTrace("outer", clock)
        with generation(trace):
            stream = pair.hedged.chat(chat_ctx=context())
        assert trace.rest_s is not None
        await asyncio.sleep(0.05)
        early = trace.rest_s()
        await asyncio.sleep(0.6)
        late = trace.rest_s()
        await stream.collect()
        assert early is not None
        assert late is not None
        assert early < 0.3
        assert late > 2.0
        assert trace.rest_s() == 0.0

    run(main)


def test_shorter_replies_and_the_other_order() -> None:
    async def main(clock: Clock) -> None:
        text, _ = await HedgedPair(clock, FAST, FAST, short=4, swap=True)(DegradationConfig())
        assert text == " ".join(SECOND.split()[:3])

    run(main)
