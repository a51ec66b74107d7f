"""``voice-agent room`` as it is run: a process, ended by signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.livekit_server import LiveKitServer, free_port
from tests.support.livekit_server import running as server_running
from voice_agent.cli import main
from voice_agent.testing.harness.room_caller import Caller, token

from .conftest import Clip, Heard, ask

READY = re.compile(r"registered as (\S+);")


class Process:
    """A worker's process and what it has said."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.said: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.child.stderr is not None
        async for line in self.child.stderr:
            self.said.append(line.decode().rstrip())

    async def says(self, pattern: str, times: int = 1, within_s: float = 90.0) -> str:
        """The last of so many lines that match."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(found := [line for line in self.said if re.search(pattern, line)]) < times:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                return found[-1]
        raise AssertionError(f"the worker did not say {pattern!r}; it said:\n" + "\n".join(self.said[-30:]))

    async def ended(self, within_s: float = 60.0) -> int:
        async with asyncio.timeout(within_s):
            code = await self.child.wait()
        await self._reading
        return code


@contextlib.asynccontextmanager
async def worker(server: LiveKitServer, *flags: str) -> AsyncIterator[Process]:
    """``voice-agent room FLAGS`` until the block ends."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voice_agent.cli", "room", *flags, "--llm", "sim:ttft=170ms,tps=2314"),
        env=os.environ | server.environment,
        stderr=subprocess.PIPE,
    )
    process = Process(child)
    try:
        yield process
    finally:
        if child.returncode is None:
            child.kill()
        await process.ended()


@contextlib.asynccontextmanager
async def caller(server: LiveKitServer, room: str, agent: str | None = None) -> AsyncIterator[Heard]:
    async with Caller.joined(server.url, token(server.key, server.secret, room, agent_name=agent)) as found:
        yield Heard(found)


def new_room(name: str) -> str:
    """No agent is sent to a room that is there already, such as that of a first run of a test that is run again."""
    return f"{name}-{secrets.token_hex(4)}"


async def get(port: int, path: str) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(read)


@pytest.mark.e2e
async def test_a_worker_joins_every_room_and_ends_when_its_calls_have(
    livekit_server: LiveKitServer, clip: Callable[[str], Clip]
) -> None:
    health, metrics = free_port(), free_port()
    flags = ("start", "--port", str(health), "--metrics-port", str(metrics), "--set", "room.calls_per_core=50")
    async with worker(livekit_server, *flags) as process:
        await process.says(READY.pattern)
        assert await get(health, "/") == "OK"
        async with caller(livekit_server, new_room("drain")) as heard:
            assert await heard.caller.agent_there(20)
            assert await ask(heard, clip("ask03")) is not None
            await process.says("turn 1: answered")
            counted = await get(metrics, "/metrics")
            assert re.search(r'voice_agent_turns_total\{.*outcome="answered"\} 1\.0', counted)
            assert re.search(r'voice_agent_stage_seconds_count\{.*stage="llm"\} 1\.0', counted)
            assert re.search(r"lk_agents_active_job_count\{.*\} 1\.0", counted)
            process.child.send_signal(signal.SIGTERM)
            await process.says("ending: no new calls; 1 still running")
            async with caller(livekit_server, new_room("too-late")) as late:
                assert not await late.caller.agent_there(1.5), "a worker that ends took a new call"
            assert await ask(heard, clip("ask02")) is not None, "the running call was cut"
        assert await process.ended() == 0


# The caller's own room loses its server here: LiveKit's native side drops the handles of what was in it, and the Python
# object that is collected later asserts that it is the one to drop it (livekit 1.1.21, FfiHandle.dispose).
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function FfiHandle:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.e2e
async def test_a_worker_survives_an_outage_and_is_replaced_when_it_dies(
    tmp_path: Path, clip: Callable[[str], Clip]
) -> None:
    with server_running(tmp_path) as server:
        async with worker(server, "dev", "--agent-name", "one", "--set", "room.max_calls=1") as first:
            await first.says(READY.pattern)
            async with caller(server, "through-the-outage", "one") as heard:
                assert await heard.caller.agent_there(20)
                assert await ask(heard, clip("ask02")) is not None
                await asyncio.to_thread(server.stop)
                await first.says("retrying in")
                await first.says("the connection is broken; reconnecting")
                assert await heard.caller.agent_gone(20)
                await asyncio.to_thread(server.start)
                await first.says(READY.pattern, times=2)
                assert await heard.caller.agent_there(30), "the agent did not come back"
                agent = heard.caller.agent
                assert agent is not None
                await heard.until(lambda: "lk.agent.state" in agent.attributes)
                assert len(heard.caller.room.remote_participants) == 1, "another agent came beside it"
                assert await ask(heard, clip("ask03")) is not None
            async with caller(server, "after-the-outage", "one") as heard:
                assert await heard.caller.agent_there(20)
                await asyncio.sleep(3.0)  # the server is told of the load
                async with caller(server, "more-than-it-would-hold", "one") as more:
                    assert await more.caller.agent_there(20), "dev has no limit"
                async with worker(server, "dev", "--agent-name", "one") as second:
                    await second.says(READY.pattern)
                    first.child.kill()
                    async with caller(server, "after-the-death", "one") as other:
                        assert await other.caller.agent_there(20)
                    second.child.send_signal(signal.SIGTERM)
                    assert await second.ended() == 0


@pytest.mark.e2e
async def test_connect_joins_one_room_and_ends_with_it(
    livekit_server: LiveKitServer, clip: Callable[[str], Clip]
) -> None:
    lobby = new_room("lobby")
    async with worker(livekit_server, "connect", "--room", lobby, "--set", "room.empty_s=1") as process:
        async with caller(livekit_server, lobby) as heard:
            await process.says(f"joining {lobby}")
            assert await heard.caller.agent_there(20)
            assert await ask(heard, clip("ask03")) is not None
            async with caller(livekit_server, new_room("elsewhere")) as stranger:
                assert not await stranger.caller.agent_there(1.0), "it joined a room that it was not told to"
        assert await process.ended() == 0


def test_without_a_server_it_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    assert main(["room", "dev", "--url", "ws://127.0.0.1:1"]) == 2
    assert "LIVEKIT_API_KEY and LIVEKIT_API_SECRET" in capsys.readouterr().err
