"""A provider that fails: its breaker opens, background trials close it; a used-up quota is no failure."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from voice_agent.clock import Clock
from voice_agent.config import DegradationConfig, MeterConfig
from voice_agent.errors import ProviderUnavailableError, RateLimitedError
from voice_agent.llm.quota_account import QuotaAccount
from voice_agent.llm.sim_spec import SimSpec, parse_spec
from voice_agent.meter import UsageMeter
from voice_agent.testing.doubles import ScriptedLLM, run

from .pair import FAST, FIRST, SECOND, STALLED, HedgedPair


def test_an_open_breaker_sends_no_request_but_a_background_trial() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=50ms,error=503", FAST)
        config = DegradationConfig(breaker_failures=3, breaker_open_s=10)
        await pair(config, times=3)
        assert pair.first.requests == 3
        text, trace = await pair(config)
        assert text == SECOND
        assert trace.facts["ladder"] == {"passed_over": "simulated"}
        await pair(config, times=15)  # the budget is a share of what has been used
        assert pair.first.requests == 3
        await asyncio.sleep(11)
        pair.first.pace = SimSpec(ttft_s=2.0)  # back, but slow: no turn waits for it
        began = clock.now()
        text, trace = await pair(config)
        assert text == SECOND
        assert trace.marks["llm_first_content"] - began == pytest.approx(0.1)
        assert pair.first.requests == 4
        assert pair.first.background_requests == ["Say yes."]
        assert (await pair(config))[0] == SECOND  # one trial at a time
        assert pair.first.requests == 4
        await asyncio.sleep(3)
        pair.first.pace = SimSpec(ttft_s=0.05)
        text, trace = await pair(config)
        assert text == FIRST
        assert "ladder" not in trace.facts
        assert pair.hedged is not None
        assert pair.hedged.snapshot().trials == 1

    run(main)


def test_what_trials_cost_in_an_outage_stays_within_the_budget_and_they_grow_rare() -> None:
    async def main(clock: Clock) -> tuple[int, float, list[float]]:
        pair = HedgedPair(clock, "sim:ttft=50ms,error=503", FAST)
        config, at, tried = DegradationConfig(), [], 0
        for _ in range(200):
            await pair(config)
            assert pair.hedged is not None
            if pair.hedged.snapshot().trials > tried:
                tried = pair.hedged.snapshot().trials
                at.append(clock.now())
            await asyncio.sleep(3)
        assert pair.hedged is not None
        counts = pair.hedged.snapshot()
        assert pair.first.requests == 3 + counts.trials  # three failures, then trials only
        assert counts.hedged == 0
        return counts.trials, counts.extra_share, at

    trials, share, at = run(main)
    assert 5 < trials < 14  # every ten seconds it would have been 60
    assert share <= 0.08
    assert [round(b - a) for a, b in itertools.pairwise(at)] == sorted(round(b - a) for a, b in itertools.pairwise(at))


def test_a_trial_costs_tokens_and_without_a_token_budget_the_users_request_is_the_trial() -> None:
    async def main(clock: Clock) -> None:
        for share, trials in ((0.08, 1), (0.0, 0)):
            pair = HedgedPair(clock, "sim:ttft=50ms,error=503", FAST)
            config = DegradationConfig(hedge_tokens=share)
            await pair(config, times=20)
            pair.first.pace = SimSpec(ttft_s=0.05)
            await asyncio.sleep(11)
            assert (await pair(config))[0] == (SECOND if trials else FIRST)
            await asyncio.sleep(1)
            assert pair.hedged is not None
            counts = pair.hedged.snapshot()
            assert counts.trials == trials
            assert (0 < counts.extra_tokens < 60) is bool(trials)
            assert (await pair(config))[0] == FIRST

    run(main)


def test_a_failed_second_provider_gets_a_trial_when_a_hedge_needs_it() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=600ms", "sim:ttft=50ms,error=503")
        config = DegradationConfig(hedge_start_ms=400, hedge_tokens=1.0)
        await pair(config, times=9)  # it is pair after 400 ms in three of them, and fails
        assert pair.second is not None
        assert pair.hedged is not None
        assert pair.second.requests == 3
        pair.second.pace = parse_spec(FAST)
        pair.first.pace = parse_spec(STALLED)
        await asyncio.sleep(11)
        began = clock.now()
        text, trace = await pair(config)
        assert text == SECOND
        assert pair.hedged.snapshot().trials == 1
        # Late after 400 ms: it is tried; very late after 600 ms: it has been answered, so it is pair.
        assert trace.marks["llm_first_content"] - began == pytest.approx(0.7, abs=1e-3)

    run(main)


def test_a_provider_that_fails_again_after_a_trial_is_left_alone_at_once() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=50ms,error=503", FAST)
        config = DegradationConfig()
        await pair(config, times=20)
        pair.first.pace = SimSpec(ttft_s=0.05)
        await asyncio.sleep(11)
        await pair(config)  # the trial is answered
        await asyncio.sleep(1)
        pair.first.pace = parse_spec("sim:ttft=50ms,error=503")
        before = pair.first.requests
        _, trace = await pair(config)
        assert "failed_over" in trace.facts["ladder"]
        _, trace = await pair(config)
        assert trace.facts["ladder"] == {"passed_over": "simulated"}
        assert pair.first.requests == before + 1

    run(main)


def counted(model: ScriptedLLM, meter: UsageMeter) -> None:
    """As if the provider were a real one: the meter counts it."""
    model.connection.account = QuotaAccount(meter, "simulated", "openai")


def test_a_provider_without_quota_gets_no_hedge_no_trial_and_is_not_asked_first(tmp_path: Path) -> None:
    """``simulated`` is the name of both; only one of the two is metered."""
    config = MeterConfig(limits="simulated.requests_day=1", at_limit="route")

    def without_quota(clock: Clock) -> UsageMeter:
        made = UsageMeter(config, tmp_path / "m.sqlite", clock=clock, on_warning=lambda _: None)
        made.used("simulated", "m", requests=1)
        assert made.flush()
        return made

    async def late(clock: Clock) -> None:
        meter, pair = without_quota(clock), HedgedPair(clock, "sim:ttft=2s", FAST)
        counted(pair.models[1], meter)
        text, trace = await pair(DegradationConfig())
        assert text == FIRST
        assert pair.second is not None
        assert pair.second.requests == 0
        assert "hedge" not in trace.facts.get("ladder", {})
        meter.close()

    async def first(clock: Clock) -> None:
        meter, pair = without_quota(clock), HedgedPair(clock, FAST, FAST)
        counted(pair.models[0], meter)
        text, trace = await pair(DegradationConfig(), times=5)
        assert text == SECOND
        assert pair.first.requests == 0
        assert trace.facts["ladder"] == {"passed_over": "simulated"}
        assert pair.hedged is not None
        assert pair.hedged.models.breaker(pair.models[0]).state(clock.now()) == "closed"  # it has not failed
        meter.close()

    async def alone(clock: Clock) -> None:
        meter, pair = without_quota(clock), HedgedPair(clock, FAST, None)
        counted(pair.models[0], meter)
        for _ in range(5):  # its breaker would say something else after three
            with pytest.raises(RateLimitedError, match="requests a day are used"):
                await pair(DegradationConfig())
        assert pair.first.requests == 0
        meter.close()

    for main in (late, first, alone):
        run(main)


def test_without_a_second_provider_an_open_breaker_fails_at_once() -> None:
    async def main(clock: Clock) -> None:
        pair = HedgedPair(clock, "sim:ttft=2s,error=503", None)
        for _ in range(3):
            with pytest.raises(ProviderUnavailableError):
                await pair(DegradationConfig())
        began = clock.now()
        with pytest.raises(ProviderUnavailableError, match=r"left alone.*llm\.hedge"):
            await pair(DegradationConfig())
        assert clock.now() == began

    run(main)
