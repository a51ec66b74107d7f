from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from voice_agent.cli import main
from voice_agent.config import LlmConfig, Secret
from voice_agent.llm.bench.survey import survey
from voice_agent.llm.provider_table import BY_NAME, PROVIDERS


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for row in PROVIDERS:
        for name in (row.key_env, *row.address_variables):
            if name:
                monkeypatch.delenv(name, raising=False)


def test_the_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "canary-55aa10203040")
    assert main(["providers", "--offline", "--json", "--set", "meter.limits=groq.tokens_day=1M"]) == 0
    out = capsys.readouterr().out
    assert "canary" not in out
    rows = {row["provider"]: row for row in json.loads(out)}
    assert set(rows) == set(BY_NAME)
    assert (rows["groq"]["configured"], rows["groq"]["chosen"], rows["groq"]["why"]) == (True, True, "GROQ_API_KEY set")
    assert (rows["azure"]["configured"], rows["ollama"]["configured"]) == (False, True)
    assert rows["groq"]["meter"]["limits"][0]["limit"] == 1_000_000
    assert main(["providers", "--offline"]) == 0
    assert "* would be used now" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args",
    [["--n", "0"], ["--concurrency", "0"], ["--context", "x"], ["--out", "x.pdf"], ["--turns", "nowhere.jsonl"]],
)
def test_bad_usage(args: list[str]) -> None:
    assert main(["providers", "bench", "--providers", "sim:ttft=1ms", *args]) == 2


def test_bench_with_simulations(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    simulated = "sim:ttft=lognormal(5ms,0.1),tps=2000,sim:ttft=1ms,error=429"
    args = ["--n", "2", "--context", "200", "--concurrency", "1,2", "--out", str(out)]
    assert main(["providers", "bench", "--providers", simulated, *args]) == 0
    body = json.loads(out.read_text())
    rows = {(row["provider"], row["concurrency"]): row for row in body["rows"]}
    assert len(rows) == 4
    assert all(row["simulated"] and row["n"] == 2 for row in rows.values())
    assert rows["sim:ttft=1ms,error=429", 1]["errors"] == {"RateLimitedError": 2}
    assert rows["sim:ttft=lognormal(5ms,0.1),tps=2000", 2]["errors"] == {}


@pytest.fixture
async def local() -> AsyncIterator[str]:
    from aiohttp import web

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "llama3.1-8b"}, {"id": "llama-3.3-70b"}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


async def test_the_survey_asks_what_is_configured(local: str) -> None:
    import dataclasses

    here = dataclasses.replace(BY_NAME["vllm"], base_url=local)
    cfg = LlmConfig(base_url=local, provider="vllm", api_key=Secret("canary-55aa10203040"), model="llama-8b")
    found = {row.provider: row for row in await survey(cfg, lambda name: None, rows=[here, BY_NAME["groq"]])}
    assert found["vllm"].reachable
    assert (found["vllm"].model, found["vllm"].model_why) == ("llama3.1-8b", "the llama-8b that is served")
    assert (found["groq"].configured, found["groq"].reachable) == (False, None)
