"""Two requests, one answer: in virtual time with scripted providers, and on real connections for what closing means."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import llm

from voice_agent.clock import Clock
from voice_agent.config import DegradationConfig, MeterConfig
from voice_agent.errors import DeadlineError, ProviderStreamError, ProviderUnavailableError, RateLimitedError
from voice_agent.llm.hedging.hedge import HedgedLLM
from voice_agent.llm.quota_account import QuotaAccount
from voice_agent.llm.sim_spec import SimSpec, parse_spec
from voice_agent.meter import UsageMeter
from voice_agent.testing.doubles import Reply, ScriptedLLM, ScriptedProvider, run
from voice_agent.trace import GenerationTrace, generation

from ..conftest import DONE, HELLO, FakeProvider, MakeLLM, chunk, event, usage
from ..test_client import context

FIRST, SECOND = "First speaking, and quite at length.", "Second speaking, and quite at length."


def provider(text: str, pace: str, **reply: Any) -> ScriptedProvider:
    return ScriptedProvider(lambda _: Reply(text, **reply), pace=parse_spec(pace))


class Asked:
    """One answer of a hedged pair, and what was seen of it."""

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


def of(main: Callable[[Clock], Any]) -> Any:
    return run(main)


FAST = "sim:ttft=100ms,tps=1000"
STALLED = "sim:ttft=3s,tps=1000"


def test_an_answer_in_time_is_asked_for_once() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, FAST, FAST)
        text, trace = await asked(DegradationConfig())
        assert text == FIRST
        assert asked.second is not None
        assert (asked.first.requests, asked.second.requests) == (1, 0)
        assert "ladder" not in trace.facts

    of(main)


def test_a_late_one_is_asked_for_again_and_the_first_content_wins() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, STALLED, FAST)
        began = clock.now()
        text, trace = await asked(DegradationConfig(hedge_start_ms=400))
        assert text == SECOND
        assert trace.marks["llm_first_content"] - began == pytest.approx(0.5)
        assert trace.marks["llm_requested"] == pytest.approx(began)  # the wait began with the first request
        degradation_step = trace.facts["ladder"]["hedge"]
        assert degradation_step["won"] is True
        assert degradation_step["at_ms"] == pytest.approx(400)
        assert degradation_step["extra_tokens"] > 0
        assert trace.facts["completion_tokens"] > 5  # the winner's
        assert asked.hedged is not None
        counts = asked.hedged.snapshot()
        assert (counts.hedged, counts.won) == (1, 1)
        assert counts.extra_tokens == degradation_step["extra_tokens"]
        assert asked.models[0].snapshot().cancelled == 1
        assert asked.models[1].snapshot().completed == 1

    of(main)


def test_the_first_may_still_win_and_the_second_is_cancelled_and_counted() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=500ms,tps=1000", "sim:ttft=300ms,tps=1000")
        text, trace = await asked(DegradationConfig(hedge_start_ms=400))
        assert text == FIRST
        assert trace.facts["ladder"]["hedge"]["won"] is False
        assert trace.facts["ladder"]["hedge"]["extra_tokens"] > 0
        assert asked.models[1].snapshot().cancelled == 1

    of(main)


def test_without_a_second_provider_the_same_is_asked_twice() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=lognormal(100ms,0.01),stall=20%x3s,seed=3", None)
        seen = {"won": 0}
        for _ in range(40):
            _, trace = await asked(DegradationConfig(hedge_tokens=1.0))
            seen["won"] += trace.facts.get("ladder", {}).get("hedge", {}).get("won", False)
        assert asked.first.requests > 40
        assert seen["won"] > 0

    of(main)


def test_off_means_off_and_so_does_an_empty_purse() -> None:
    async def main(clock: Clock) -> None:
        for config in (
            DegradationConfig(hedge=False),
            DegradationConfig(hedge_tokens=0.0),
            DegradationConfig(hedge_per_minute=0),
        ):
            asked = Asked(clock, "sim:ttft=2s", FAST)
            text, _ = await asked(config)
            assert text == FIRST
            assert asked.second is not None
            assert asked.second.requests == 0

    of(main)


def test_calls_of_two_answers_are_those_of_one() -> None:
    """Both providers call the tool at the same instant: what is read, and carried out, is one call."""

    async def book() -> str:
        """Book a table."""
        return "booked"

    async def main(clock: Clock) -> None:
        calls: dict[str, dict[str, str]] = {"book": {}}
        for first, second in (("sim:ttft=600ms", "sim:ttft=200ms"), ("sim:ttft=601ms", "sim:ttft=200ms")):
            asked = Asked(clock, first, second, calls=calls)
            asked.hedged = HedgedLLM(*asked.models, config=DegradationConfig(hedge_start_ms=400), clock=clock)
            stream = asked.hedged.chat(chat_ctx=context(), tools=[llm.function_tool(book)])
            got = await stream.collect()
            assert asked.second is not None
            assert (asked.first.requests, asked.second.requests) == (1, 1)
            assert [call.name for call in got.tool_calls] == ["book"]

    of(main)


def test_with_tools_it_can_be_forbidden() -> None:
    async def book() -> str:
        """Book a table."""
        return "booked"

    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=1s", FAST)
        text, _ = await asked(DegradationConfig(hedge_with_tools=False), tools=[llm.function_tool(book)])
        assert text == FIRST
        text, _ = await asked(DegradationConfig(hedge_with_tools=False))
        assert text == SECOND

    of(main)


def test_a_provider_that_fails_is_replaced_at_once() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=50ms,error=503", FAST)
        began = clock.now()
        text, trace = await asked(DegradationConfig())
        assert text == SECOND
        assert clock.now() - began < 0.3
        assert trace.facts["ladder"]["failed_over"]["error"] == "ProviderUnavailableError"
        assert trace.facts["provider"] == "simulated"

    of(main)


def test_the_same_provider_is_not_asked_again_after_an_error() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=50ms,error=503", None)
        with pytest.raises(ProviderUnavailableError):
            await asked(DegradationConfig())
        assert asked.first.requests == 1

    of(main)


def test_the_breaker_leaves_a_failing_provider_alone_and_tries_it_aside() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=50ms,error=503", FAST)
        config = DegradationConfig(breaker_failures=3, breaker_open_s=10)
        await asked(config, times=3)
        assert asked.first.requests == 3
        text, trace = await asked(config)
        assert text == SECOND
        assert trace.facts["ladder"] == {"passed_over": "simulated"}
        await asked(config, times=15)  # the budget is a share of what has been used
        assert asked.first.requests == 3
        await asyncio.sleep(11)
        asked.first.pace = SimSpec(ttft_s=2.0)  # back, but slow: nobody waits for it
        began = clock.now()
        text, trace = await asked(config)
        assert text == SECOND
        assert trace.marks["llm_first_content"] - began == pytest.approx(0.1)
        assert asked.first.requests == 4
        assert asked.first.asides == ["Say yes."]
        assert (await asked(config))[0] == SECOND  # one trial at a time
        assert asked.first.requests == 4
        await asyncio.sleep(3)
        asked.first.pace = SimSpec(ttft_s=0.05)
        text, trace = await asked(config)
        assert text == FIRST
        assert "ladder" not in trace.facts
        assert asked.hedged is not None
        assert asked.hedged.snapshot().trials == 1

    of(main)


def test_what_trials_cost_in_an_outage_stays_within_the_budget_and_they_grow_rare() -> None:
    async def main(clock: Clock) -> tuple[int, float, list[float]]:
        asked = Asked(clock, "sim:ttft=50ms,error=503", FAST)
        config, at, tried = DegradationConfig(), [], 0
        for _ in range(200):
            await asked(config)
            assert asked.hedged is not None
            if asked.hedged.snapshot().trials > tried:
                tried = asked.hedged.snapshot().trials
                at.append(clock.now())
            await asyncio.sleep(3)
        assert asked.hedged is not None
        counts = asked.hedged.snapshot()
        assert asked.first.requests == 3 + counts.trials  # three failures, then trials only
        assert counts.hedged == 0
        return counts.trials, counts.extra_share, at

    trials, share, at = of(main)
    assert 5 < trials < 14  # every ten seconds it would have been 60
    assert share <= 0.08
    assert [round(b - a) for a, b in itertools.pairwise(at)] == sorted(round(b - a) for a, b in itertools.pairwise(at))


def test_a_trial_that_is_answered_costs_tokens_and_with_an_empty_purse_the_user_s_request_is_the_trial() -> None:
    async def main(clock: Clock) -> None:
        for share, trials in ((0.08, 1), (0.0, 0)):
            asked = Asked(clock, "sim:ttft=50ms,error=503", FAST)
            config = DegradationConfig(hedge_tokens=share)
            await asked(config, times=20)
            asked.first.pace = SimSpec(ttft_s=0.05)
            await asyncio.sleep(11)
            assert (await asked(config))[0] == (SECOND if trials else FIRST)
            await asyncio.sleep(1)
            assert asked.hedged is not None
            counts = asked.hedged.snapshot()
            assert counts.trials == trials
            assert (0 < counts.extra_tokens < 60) is bool(trials)
            assert (await asked(config))[0] == FIRST

    of(main)


def test_a_second_provider_that_failed_is_tried_aside_when_it_would_be_needed() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=600ms", "sim:ttft=50ms,error=503")
        config = DegradationConfig(hedge_start_ms=400, hedge_tokens=1.0)
        await asked(config, times=9)  # it is asked after 400 ms in three of them, and fails
        assert asked.second is not None
        assert asked.hedged is not None
        assert asked.second.requests == 3
        asked.second.pace = parse_spec(FAST)
        asked.first.pace = parse_spec(STALLED)
        await asyncio.sleep(11)
        began = clock.now()
        text, trace = await asked(config)
        assert text == SECOND
        assert asked.hedged.snapshot().trials == 1
        # Late after 400 ms: it is tried; very late after 600 ms: it has been answered, so it is asked.
        assert trace.marks["llm_first_content"] - began == pytest.approx(0.7, abs=1e-3)

    of(main)


def test_a_provider_that_fails_again_after_a_trial_is_left_alone_at_once() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=50ms,error=503", FAST)
        config = DegradationConfig()
        await asked(config, times=20)
        asked.first.pace = SimSpec(ttft_s=0.05)
        await asyncio.sleep(11)
        await asked(config)  # the trial is answered
        await asyncio.sleep(1)
        asked.first.pace = parse_spec("sim:ttft=50ms,error=503")
        before = asked.first.requests
        _, trace = await asked(config)
        assert "failed_over" in trace.facts["ladder"]
        _, trace = await asked(config)
        assert trace.facts["ladder"] == {"passed_over": "simulated"}
        assert asked.first.requests == before + 1

    of(main)


def counted(model: ScriptedLLM, meter: UsageMeter) -> None:
    """As if the provider were a real one: the meter counts it."""
    model.connection.account = QuotaAccount(meter, "simulated", "openai")


def test_a_used_up_provider_is_not_hedged_to_nor_tried_nor_asked_first(tmp_path: Path) -> None:
    """``simulated`` is the name of both; only one of the two is metered."""
    config = MeterConfig(limits="simulated.requests_day=1", at_limit="route")

    def used_up(clock: Clock) -> UsageMeter:
        made = UsageMeter(config, tmp_path / "m.sqlite", clock=clock, on_warning=lambda _: None)
        made.used("simulated", "m", requests=1)
        assert made.flush()
        return made

    async def late(clock: Clock) -> None:
        meter, asked = used_up(clock), Asked(clock, "sim:ttft=2s", FAST)
        counted(asked.models[1], meter)
        text, trace = await asked(DegradationConfig())
        assert text == FIRST
        assert asked.second is not None
        assert asked.second.requests == 0
        assert "hedge" not in trace.facts.get("ladder", {})
        meter.close()

    async def first(clock: Clock) -> None:
        meter, asked = used_up(clock), Asked(clock, FAST, FAST)
        counted(asked.models[0], meter)
        text, trace = await asked(DegradationConfig(), times=5)
        assert text == SECOND
        assert asked.first.requests == 0
        assert trace.facts["ladder"] == {"passed_over": "simulated"}
        assert asked.hedged is not None
        assert asked.hedged.models.breaker(asked.models[0]).state(clock.now()) == "closed"  # it has not failed
        meter.close()

    async def alone(clock: Clock) -> None:
        meter, asked = used_up(clock), Asked(clock, FAST, None)
        counted(asked.models[0], meter)
        for _ in range(5):  # its breaker would say something else after three
            with pytest.raises(RateLimitedError, match="requests a day are used"):
                await asked(DegradationConfig())
        assert asked.first.requests == 0
        meter.close()

    for main in (late, first, alone):
        of(main)


def test_with_nobody_else_to_ask_an_open_breaker_says_so_at_once() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=2s,error=503", None)
        for _ in range(3):
            with pytest.raises(ProviderUnavailableError):
                await asked(DegradationConfig())
        began = clock.now()
        with pytest.raises(ProviderUnavailableError, match=r"left alone.*llm\.hedge"):
            await asked(DegradationConfig())
        assert clock.now() == began

    of(main)


def test_it_gives_up_when_it_is_told_to_though_both_are_still_asked() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, STALLED, STALLED)
        began = clock.now()
        with pytest.raises(DeadlineError, match=r"degradation\.give_up_ms"):
            await asked(DegradationConfig(give_up_ms=1500))
        assert clock.now() - began == pytest.approx(1.5)
        assert [model.snapshot().cancelled for model in asked.models] == [1, 1]

    of(main)


def test_the_expected_rest_follows_from_what_was_seen() -> None:
    async def main(clock: Clock) -> None:
        asked = Asked(clock, "sim:ttft=lognormal(200ms,0.1),stall=20%x3s,seed=5", None)
        config = DegradationConfig(hedge=False)
        await asked(config, times=40)
        assert asked.hedged is not None
        asked.first.pace = parse_spec(STALLED)
        trace = GenerationTrace("outer", clock)
        with generation(trace):
            stream = asked.hedged.chat(chat_ctx=context())
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

    of(main)


def test_shorter_replies_and_the_other_order() -> None:
    async def main(clock: Clock) -> None:
        text, _ = await Asked(clock, FAST, FAST, short=4, swap=True)(DegradationConfig())
        assert text == " ".join(SECOND.split()[:3])

    of(main)


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
