"""A key must reach the provider and nothing else: every output of a run is searched for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import traceback
from pathlib import Path

import pytest

from voice_agent import meter
from voice_agent.agent_setup import mcp_servers
from voice_agent.budget.export import JsonlWriter, to_row
from voice_agent.budget.ledger import TurnBuilder
from voice_agent.budget.turn_verdict import Budget
from voice_agent.config import LlmConfig, MeterConfig, Secret
from voice_agent.errors import ProviderError
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.endpoints import resolve
from voice_agent.llm.local.sim import SimServer
from voice_agent.llm.sim_spec import SimSpec
from voice_agent.trace import GenerationTrace, generation

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
    search(tmp_path, "meter.sqlite", "turns.jsonl")


def search(folder: Path, *expected: str) -> None:
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.name for path in files} >= set(expected)
    assert not [path.name for path in files if CANARY.encode() in path.read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_children_that_we_start_do_not_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS[:-1]:
        monkeypatch.setenv(name, CANARY)
    with SimServer(SimSpec()) as server:
        child = Path(f"/proc/{server.pid}")
        assert b"PATH=" in (child / "environ").read_bytes()
        assert CANARY.encode() not in (child / "environ").read_bytes() + (child / "cmdline").read_bytes()
    assert CANARY not in Path(f"/proc/{os.getpid()}/cmdline").read_text()


KEYS = ("CEREBRAS_API_KEY", "VOICE_AGENT_LLM_API_KEY", "REPLICATE_API_TOKEN", "AWS_SECRET_ACCESS_KEY", "SOME_SERVICE")
MCP_SERVER = """
from mcp.server.mcpserver import MCPServer

server = MCPServer("library")


@server.tool()
def find_book(title: str) -> str:
    \"\"\"Where a book stands.\"\"\"
    return "on shelf 12"


server.run("stdio")
"""


def descendants(pid: int) -> list[int]:
    """Of a process, from /proc."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # over meanwhile
            children += [int(word) for word in task.read_text().split()]
    return [one for child in children for one in (child, *descendants(child))]


def shown_by(pid: int, *what: str) -> bytes:
    """What other programs can read of a process: its command line, its environment."""
    out = b""
    for name in what:
        with contextlib.suppress(OSError):
            out += Path(f"/proc/{pid}/{name}").read_bytes()
    return out


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
async def test_an_mcp_server_gets_what_the_protocol_says_and_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client hands on a few plain variables and what it is told to; we tell it nothing."""
    pytest.importorskip("mcp")
    script = tmp_path / "library.py"
    script.write_text(MCP_SERVER)
    for name in KEYS:
        monkeypatch.setenv(name, CANARY)
    before = set(descendants(os.getpid()))
    async with mcp_servers.connected([mcp_servers.server(f"{sys.executable} {script}")], []) as toolsets:
        assert [tool.id for toolset in toolsets for tool in toolset.tools] == ["find_book"]
        started = set(descendants(os.getpid())) - before
        assert started
        for pid in started:
            seen = shown_by(pid, "environ", "cmdline")
            assert b"PATH=" in seen
            assert CANARY.encode() not in seen


@pytest.mark.e2e
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
async def test_nothing_that_a_whole_run_leaves_or_shows_holds_the_key(tmp_path: Path) -> None:
    """``voice-agent script`` and its report; the key is in the environment, the provider repeats it in its errors."""
    clip = Path(__file__).parents[2] / "assets" / "speech" / "ask01.wav"
    service = Canary("groq", Say(fail="mid"))
    seen = b""
    async for _ in service.serving():
        command = [
            "script", str(clip), "--whisper", "tiny.en", "--jsonl", str(tmp_path / "turns.jsonl"),
            "--record", str(tmp_path / "call.wav"), "--provider", "groq", "--base-url", service.base_url,
            "--model", "llama-3.3-70b", "--set", "meter.enabled=false", "--set", "llm.hedge=sim:ttft=170ms",
        ]  # fmt: skip
        env = {**os.environ, **dict.fromkeys(KEYS[:-1], CANARY)}
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "voice_agent.cli", *command, env=env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said = asyncio.create_task(run.communicate())
        children: set[int] = set()
        while not said.done():
            seen += shown_by(run.pid, "cmdline")
            for child in descendants(run.pid):
                children.add(child)
                seen += shown_by(child, "cmdline", "environ")
            await asyncio.sleep(0.2)
        out, err = await said
        assert run.returncode == 0, err.decode()
        seen += out + err
        assert children  # the simulated second provider's server
    assert service.bodies
    report = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "voice_agent.cli", "report", str(tmp_path / "turns.jsonl"), "--html",
        str(tmp_path / "report.html"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    seen += (await report.communicate())[0]
    assert report.returncode == 0, seen[-2000:].decode()
    assert CANARY.encode() not in seen
    search(tmp_path, "turns.jsonl", "call.wav", "report.html")
