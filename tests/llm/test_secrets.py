"""A key must reach the provider and nothing else: every output of a run is searched for it."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

import pytest

from voice_agent import meter
from voice_agent.budget.export import JsonlWriter, to_row
from voice_agent.budget.ledger import Budget, TurnBuilder
from voice_agent.budget.probe import GenerationTrace, generation
from voice_agent.config import LlmConfig, MeterConfig, Secret
from voice_agent.errors import ProviderError
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.providers import resolve
from voice_agent.llm.sim import SimServer, SimSpec

from .services import Say, Service
from .test_client import context

CANARY = "canary9f3e8d7c6b5a"  # not like a key, so that no pattern finds it by its looks


class Canary(Service):
    """Takes this key, and repeats it in every error."""

    async def _allowed(self, request: object) -> bool:
        self.echo = f"{CANARY} and Bearer {CANARY}"
        return True


@pytest.mark.parametrize("name", ["cerebras", "groq", "azure", "openrouter", "replicate"])
@pytest.mark.parametrize("fail", ["", "429", "500", "mid", "truncated"])
async def test_no_output_of_a_run_holds_the_key(
    name: str, fail: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    service = Canary(name, Say(fail=fail))
    shown: list[str] = []
    async for _ in service.serving():
        model_name = service.row.default_model or "llama-3.3-70b"
        cfg = LlmConfig(provider=name, base_url=service.base_url, api_key=Secret(CANARY), model=model_name)
        endpoint = resolve(cfg, lambda _: None)
        shown.append(repr(endpoint) + repr(cfg))
        with meter.opened(MeterConfig(), tmp_path / "meter.sqlite") as counting:
            assert counting is not None
            model = ChatLLM.from_config(cfg, endpoint)
            trace, builder = GenerationTrace("g"), TurnBuilder(1)
            try:
                with generation(trace):
                    await model.chat(chat_ctx=context()).collect()
            except ProviderError as error:
                builder.fail(error)
                shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
            assert bool(fail) is (builder.error is not None)
            builder.absorb(trace)
            await model.aclose()
            counting.flush()
            shown += [repr(counting.snapshot()), counting.snapshot().line()]
        turn = builder.build()
        with JsonlWriter(tmp_path / "turns.jsonl", Budget()) as rows:
            rows.write(turn)
        shown.append(str(to_row(turn, Budget())))
    assert service.bodies
    out, err = capfd.readouterr()
    shown += [out, err, caplog.text]
    assert CANARY not in "\n".join(shown)
    search(tmp_path)


def search(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"meter.sqlite", "turns.jsonl"}
    assert not [path.name for path in files if CANARY.encode() in path.read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_children_that_we_start_do_not_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CEREBRAS_API_KEY", "VOICE_AGENT_LLM_API_KEY", "REPLICATE_API_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, CANARY)
    with SimServer(SimSpec()) as server:
        child = Path(f"/proc/{server._child.pid}")
        assert b"PATH=" in (child / "environ").read_bytes()
        assert CANARY.encode() not in (child / "environ").read_bytes() + (child / "cmdline").read_bytes()
    assert CANARY not in Path(f"/proc/{os.getpid()}/cmdline").read_text()
