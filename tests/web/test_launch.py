"""Everything up, everything down: with a real livekit-server, and a worker that is a few lines of Python."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path

import aiohttp
import pytest
from livekit import api

from voice_agent.config import (
    AgentConfig,
    Config,
    LivekitConfig,
    LlmConfig,
    Secret,
    WebConfig,
    child_environment,
    load,
)
from voice_agent.errors import ConfigError, UsageError
from voice_agent.room.access import find_access, websocket_url
from voice_agent.web import launch, livekit_server
from voice_agent.web.children import ChildError

ENDLESS = "print('registered as W'); import time; time.sleep(600)"


def worker(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def command_line(pid: int) -> list[str]:
    """What other users can read of a process; empty where there is no /proc."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text().split("\0")[:-1] if path.exists() else []


def environment(pid: int) -> str:
    """What a process was given; where there is a /proc."""
    return Path(f"/proc/{pid}/environ").read_text()


def private_file(path: Path, holds: str) -> bool:
    return stat.S_IMODE(path.stat().st_mode) == 0o600 and holds in path.read_text()


@pytest.fixture
def no_livekit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_livekit", "server_binary")
async def test_everything_comes_up_and_goes_down() -> None:
    async with launch.running(Config(web=WebConfig(port=0)), worker=worker(ENDLESS)) as r:
        async with aiohttp.ClientSession() as http:
            async with http.get(r.address) as answer:
                assert "voice-agent" in await answer.text()
            headers = {"Origin": r.address.rstrip("/"), "Content-Type": "application/json"}
            async with http.post(f"{r.address}api/token", data="{}", headers=headers) as answer:
                issued = await answer.json()
        server = api.LiveKitAPI(r.access.url, r.access.api_key, r.access.api_secret.reveal())
        assert list((await server.room.list_rooms(api.ListRoomsRequest())).rooms) == []
        await server.aclose()
        verified = api.TokenVerifier(r.access.api_key, r.access.api_secret.reveal()).verify(issued["token"])
        assert verified.room_config is not None
        (agent,) = verified.room_config.agents
        assert command_line(r.children[1].pid)[-2:] in ([], ["--agent-name", agent.agent_name])
        children = r.children
    assert [child.name for child in children] == ["livekit-server", "the agent's worker"]
    assert not any(child.running for child in children)


@pytest.mark.usefixtures("no_livekit")
async def test_the_key_is_in_a_private_file_and_in_no_command(server_binary: Path, tmp_path: Path) -> None:
    child, access = await livekit_server.start(server_binary, tmp_path)
    try:
        assert len(access.api_secret.reveal()) >= 32
        assert private_file(tmp_path / "livekit.yaml", access.api_secret.reveal())
        assert access.api_secret.reveal() not in " ".join(command_line(child.pid))
        assert access.url.startswith("ws://127.0.0.1:")
    finally:
        await child.stop(5.0)


@pytest.mark.usefixtures("no_livekit", "server_binary")
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="NOT TESTED, what children get: there is no /proc")
async def test_no_child_gets_a_secret_that_it_does_not_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEREBRAS_API_KEY", "canary-of-the-model")
    monkeypatch.setenv("VOICE_AGENT_LLM_API_KEY", "canary-of-the-model")
    monkeypatch.setenv("VOICE_AGENT_WEB_SECRET", "canary-of-the-page")
    monkeypatch.setenv("LIVEKIT_KEYS", "other: canary-of-another-server-that-is-not-ours")
    config = Config(web=WebConfig(port=0, secret=Secret("canary-of-the-page")))
    async with launch.running(config, worker=worker(ENDLESS)) as r:
        server, agent = (environment(child.pid) for child in r.children)
        assert "PATH=" in server
        assert "canary" not in server
        assert r.access.api_secret.reveal() not in server, "it has a private file for that"
        assert "canary-of-the-page" not in agent
        assert "CEREBRAS_API_KEY=canary-of-the-model" in agent
        assert f"LIVEKIT_API_SECRET={r.access.api_secret.reveal()}" in agent


def test_the_server_is_configured_for_this_machine_alone() -> None:
    made = json.loads(livekit_server.configuration(port=1, udp_port=2, api_key="k", api_secret="s"))
    assert made["bind_addresses"] == ["127.0.0.1"]
    assert made["rtc"]["node_ip"] == "127.0.0.1"
    assert made["rtc"]["use_external_ip"] is False
    assert made["rtc"]["stun_servers"] == ["127.0.0.1:3478"]
    assert made["keys"] == {"k": "s"}


@pytest.mark.usefixtures("no_livekit", "server_binary")
async def test_when_a_child_ends_everything_does_and_says_which() -> None:
    said: list[str] = []
    dying = "import time; print('registered as W'); time.sleep(0.3); print('out of memory'); raise SystemExit(7)"
    with pytest.raises(ChildError, match="worker ended with code 7") as caught:
        await asyncio.wait_for(launch.run(Config(web=WebConfig(port=0)), say=said.append, worker=worker(dying)), 60)
    assert "out of memory" in str(caught.value)
    assert any("Call the agent" in text for text in said)


@pytest.mark.usefixtures("no_livekit", "server_binary")
async def test_a_worker_that_does_not_start_is_an_error_before_the_page_is_up() -> None:
    said: list[str] = []
    broken = "print('no such voice'); raise SystemExit(1)"
    with pytest.raises(ChildError, match="no such voice"):
        await launch.run(Config(web=WebConfig(port=0)), say=said.append, worker=worker(broken))
    assert not any("Call the agent" in text for text in said)


@pytest.mark.usefixtures("no_livekit", "server_binary")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_all(number: signal.Signals, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid())); {ENDLESS}"
    up = asyncio.Event()

    def say(text: str) -> None:
        if "Call the agent" in text:
            up.set()

    running = asyncio.create_task(launch.run(Config(web=WebConfig(port=0)), say=say, worker=worker(code)))
    async with asyncio.timeout(60):
        await up.wait()
        os.kill(os.getpid(), number)
        assert await running == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


@pytest.mark.usefixtures("no_livekit")
async def test_without_the_program_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        await launch.run(Config(web=WebConfig(port=0)), say=print)
    for part in (
        "go install github.com/livekit/livekit-server",
        "releases/tag/v",
        "brew install livekit",
        "LIVEKIT_URL",
    ):
        assert part in str(caught.value)


def test_the_program_is_looked_for_where_the_settings_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "voice-agent" / "bin" / "livekit-server"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert livekit_server.find() == program
    assert livekit_server.find(str(program)) == program
    assert load(env={"VOICE_AGENT_LIVEKIT_SERVER": "x"}).livekit == LivekitConfig(server="x")
    with pytest.raises(ConfigError, match=r"livekit\.server"):
        livekit_server.find(str(tmp_path / "absent"))


def test_a_server_of_ones_own_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "https://lk.example.org/")
    monkeypatch.delenv("LIVEKIT_API_KEY", raising=False)
    monkeypatch.delenv("LIVEKIT_API_SECRET", raising=False)
    with pytest.raises(ConfigError, match="LIVEKIT_API_KEY and LIVEKIT_API_SECRET"):
        find_access()
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "word")
    access = find_access()
    assert (access.url, access.api_key, access.api_secret) == ("wss://lk.example.org", "key", Secret("word"))
    assert "word" not in repr(access)


@pytest.mark.parametrize(
    "url", ["localhost:7880", "ftp://a", "ws://a b", "ws://a; script-src *", "wss://", "wss://a/?x=1"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="LIVEKIT_URL is not an address"):
        websocket_url(url, "LIVEKIT_URL")


@pytest.mark.usefixtures("no_livekit")
async def test_beyond_loopback_the_livekit_server_cannot_be_ours() -> None:
    config = Config(web=WebConfig(host="0.0.0.0", port=0, secret=Secret("correct horse battery")))
    with pytest.raises(ConfigError, match="set LIVEKIT_URL"):
        await launch.run(config, say=print)
    with pytest.raises(ConfigError, match="VOICE_AGENT_WEB_SECRET"):
        await launch.run(Config(web=WebConfig(host="0.0.0.0", port=0)), say=print)


async def test_a_port_that_is_taken_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("URL", "ws://127.0.0.1:9"), ("API_KEY", "key"), ("API_SECRET", "x" * 40)):
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    async with launch.running(Config(web=WebConfig(port=0)), worker=None) as r:
        port = int(r.address.rstrip("/").rpartition(":")[2])
        with pytest.raises(UsageError, match="--port"):
            async with launch.running(Config(web=WebConfig(port=port)), worker=None):
                pass


def test_a_child_reads_the_same_configuration() -> None:
    config = Config(
        llm=LlmConfig(api_key=Secret("a key"), model=None, temperature=0.3),
        agent=AgentConfig(instructions="One line.\nAnother: é = 1."),
        web=WebConfig(behind_auth=True),
    )
    env = child_environment(config, {"LIVEKIT_URL": "ws://x"})
    assert env["LIVEKIT_URL"] == "ws://x"
    assert env["PATH"] == os.environ["PATH"]
    assert load(env=env) == config
