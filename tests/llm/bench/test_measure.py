from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

import httpx2
import pytest

from voice_agent.budget.ledger import Mark, Turn
from voice_agent.llm.bench.measure import BenchRequest, RequestTiming, ask, conversation, measure, plan
from voice_agent.llm.bench.predict import ProviderSpeed, advise, complete_stage_times, predict, speeds
from voice_agent.llm.bench.provider_report import ProviderReport
from voice_agent.llm.bench.published_speeds import PUBLISHED
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.memory.window import tokens_of
from voice_agent.llm.provider_table import SIMULATED
from voice_agent.llm.types import Endpoint
from voice_agent.testing.doubles.llm import ScriptedProvider


def timing(
    provider: str, ttft_ms: float | None, *, tps: float | None = 100.0, error: str | None = None
) -> RequestTiming:
    return RequestTiming(provider, 200, 1, ttft_ms, None if ttft_ms is None else ttft_ms + 100, 30, tps, error)


def turn(marks_ms: Mapping[Mark, float]) -> Turn:
    marks = {mark: marks_ms[mark] / 1000 if mark in marks_ms else None for mark in Mark}
    return Turn(1, MappingProxyType(marks))


FULL = {
    Mark.SPEECH_ENDED: 0.0,
    Mark.TRANSCRIPT_READY: 60.0,
    Mark.LLM_REQUESTED: 70.0,
    Mark.LLM_FIRST_CONTENT: 240.0,
    Mark.CHUNK_READY: 245.0,
    Mark.TTS_FIRST_AUDIO: 290.0,
    Mark.TURN_COMMITTED: 200.0,
    Mark.FIRST_AUDIBLE: 300.0,
}


def test_the_order_is_interleaved_seeded_and_complete() -> None:
    groups = list(plan(["a", "b"], 6, [200, 1000], [1, 4], seed=3))
    asked = [one for group in groups for one in group]
    assert len(asked) == 2 * 6 * 2 * 2
    assert groups == list(plan(["a", "b"], 6, [200, 1000], [1, 4], seed=3))
    assert groups != list(plan(["a", "b"], 6, [200, 1000], [1, 4], seed=4))
    assert {len(group) for group in groups} == {1, 2, 4}
    first = [group[0].provider for group in groups[:8]]
    assert sorted(first) == ["a"] * 4 + ["b"] * 4  # one round: each kind once
    assert {(one.provider, one.context_tokens, one.concurrency, one.number) for one in asked} == {
        (p, t, c, n) for p in "ab" for t in (200, 1000) for c in (1, 4) for n in range(6)
    }


@pytest.mark.parametrize("tokens", [200, 1000, 4000])
def test_conversations_are_as_long_as_they_say_and_begin_alike(tokens: int) -> None:
    one, other = conversation(tokens, 1), conversation(tokens, 2)
    assert 0.7 * tokens < sum(map(tokens_of, one.items)) < 1.5 * tokens  # with what stands around each message
    texts = [[item.text_content for item in ctx.items if item.type == "message"] for ctx in (one, other)]
    assert texts[0][:-3] == texts[1][: len(texts[0]) - 3]
    assert texts[0][-1] != texts[1][-1]


@pytest.fixture
async def client() -> AsyncIterator[ChatLLM]:
    model = ChatLLM(
        Endpoint(SIMULATED, "http://double/v1", None, None, True, "double"),
        transport=ScriptedProvider(),
        warm_connections=0,
    )
    yield model
    await model.aclose()


async def test_each_request_is_timed(client: ChatLLM) -> None:
    found = await measure({"double": client}, 3, contexts=(200,), concurrencies=(1, 2), seed=1)
    assert len(found) == 6
    assert {s.concurrency for s in found} == {1, 2}
    assert all(s.error is None and s.ttft_ms is not None and s.tokens > 0 for s in found)


async def test_a_failure_is_a_timing_too() -> None:
    refusing = httpx2.MockTransport(
        lambda request: (
            httpx2.Response(200, json={"data": [{"id": "m"}]})
            if request.method == "GET"
            else httpx2.Response(429, json={"error": {"message": "slow down"}})
        )
    )
    model = ChatLLM(Endpoint(SIMULATED, "http://d/v1", None, None, True, "d"), transport=refusing, warm_connections=0)
    got = await ask(model, BenchRequest("d", 200, 1, 0))
    await model.aclose()
    assert (got.ttft_ms, got.error) == (None, "RateLimitedError")


def test_only_turns_with_all_marks_are_used_for_a_prediction() -> None:
    (found,) = complete_stage_times([turn(FULL)])
    times = (found.requested_s, found.committed_s, found.tts_s, found.output_s)
    assert times == pytest.approx((0.070, 0.200, 0.045, 0.010))
    for missing in (Mark.CHUNK_READY, Mark.TURN_COMMITTED, Mark.SPEECH_ENDED):
        assert complete_stage_times([turn({mark: at for mark, at in FULL.items() if mark is not missing})]) == []


def test_a_prediction_of_the_recorded_model_is_the_recorded_time() -> None:
    (times,) = complete_stage_times([turn(FULL)])
    recorded = ProviderSpeed((170.0,), 8 / 0.005, 0.0, 1)  # first content after 170 ms, the first clause 5 ms later
    assert predict([times], "same", recorded).p50_ms == pytest.approx(300.0)
    # An instant model: the wait decides.
    assert predict([times], "instant", ProviderSpeed((0.0,), 1e6, 0.0, 1)).p50_ms == pytest.approx(210.0)
    # A GPU at 59 tokens a second: the first clause alone takes 136 ms.
    gpu = predict([times], "gpu", ProviderSpeed((170.0,), 59.0, 0.0, 1))
    assert gpu.first_clause_ms == pytest.approx(135.6, abs=0.1)
    assert gpu.p50_ms == pytest.approx(300 - 5 + 135.6, abs=0.1)


def test_advice_hedges_a_tail_and_leaves_out_what_fails() -> None:
    (times,) = complete_stage_times([turn(FULL)])
    rng = random.Random(2)
    tailed = tuple(170.0 if rng.random() > 0.06 else 3000.0 for _ in range(200))
    measured = {
        "fast": ProviderSpeed(tailed, 2000.0, 0.0, 200),
        "steady": ProviderSpeed((260.0,) * 50, 500.0, 0.0, 50),
        "broken": ProviderSpeed((10.0,) * 50, 2000.0, 0.4, 50),
    }
    advice = advise([times], measured)
    assert advice is not None
    assert advice.primary.name == "steady"
    assert "broken (40%)" in " ".join(advice.reasons)
    assert "the end of turn would decide in 100%" in advice.reasons[-1]  # asked at 70, spoken by 115, committed at 200
    only = advise([times], {"fast": measured["fast"], "slow": ProviderSpeed((5000.0,), 50.0, 0.0, 1)})
    assert only is not None
    assert only.hedged is None  # the second would not come in time either
    tail = advise(
        [times], {"fast": measured["fast"], "other": ProviderSpeed((3100.0, 200.0, 200.0, 200.0), 500.0, 0.0, 4)}
    )
    assert tail is not None
    assert (tail.primary.name, tail.hedged.hedge if tail.hedged else None) == ("fast", "other")
    assert tail.hedged is not None
    assert tail.hedged.p95_ms < tail.primary.p95_ms
    assert tail.hedged.extra < 0.12
    assert advise([], measured) is None


def test_a_report_labels_what_is_simulated_and_suggests_real_ones() -> None:
    timings = [timing("cerebras", 170.0 + n) for n in range(20)] + [timing("sim-x", 10.0 + n) for n in range(20)]
    timings.append(timing("cerebras", None, tps=None, error="RateLimitedError"))
    report = ProviderReport(
        tuple(timings), {"cerebras": "m at c", "sim-x": "a <pace>"}, frozenset({"sim-x"}), (turn(FULL),), seed=7
    )
    body = json.loads(report.as_json())
    rows = {row["provider"]: row for row in body["rows"]}
    assert rows["sim-x"]["simulated"] is True
    assert rows["cerebras"]["n"] == 21
    assert rows["cerebras"]["errors"] == {"RateLimitedError": 1}
    spread = rows["cerebras"]["ttft_p50_ms"]
    assert spread["low"] <= spread["estimate"] == 179.5 <= spread["high"]
    assert body["advice"]["primary"]["name"] == "cerebras"
    text = report.as_markdown()
    assert "| sim-x (simulated) | 200 | 1 | 20 |" in text
    assert "1 RateLimitedError" in text
    assert "a &lt;pace&gt;" in report.as_html()
    assert "--turns FILE" in ProviderReport(tuple(timings), {}, frozenset()).as_markdown()


def test_published_speeds_are_simulated_as_published() -> None:
    assert PUBLISHED["sim-cerebras-70b"].spec == "sim:ttft=170ms,tps=2314"
    assert PUBLISHED["sim-gpu-70b"].spec == "sim:ttft=170ms,tps=59"
    assert all(one.fact.source and one.fact.as_of for one in PUBLISHED.values())


def test_speeds_count_the_lowest_concurrency() -> None:
    many = [RequestTiming("a", 200, 4, 900.0, None, 1, None), timing("a", 100.0), timing("a", None, error="X")]
    assert speeds(many) == {"a": ProviderSpeed((100.0,), 100.0, 0.5, 2)}
