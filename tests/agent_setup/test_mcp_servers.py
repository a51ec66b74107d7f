"""MCP servers: a real one over standard input and output, and what is refused in which words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from voice_agent.agent_setup import mcp_servers
from voice_agent.errors import ConfigError, ToolServerError

from .agent_flags import called, options

SERVER = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("clock")

@server.tool()
def time_in(town: str) -> str:
    "The time in a town."
    return f"noon in {town}"

@server.tool()
def fail() -> str:
    "Fails."
    raise ValueError("no clock here")

server.run()
"""


async def test_tools_of_a_command(tmp_path: Path) -> None:
    program = tmp_path / "clock.py"
    program.write_text(SERVER)
    made = options(["--mcp", f"{sys.executable} {program}"])
    notes: list[str] = []
    async with mcp_servers.connected(made.mcp, notes) as toolsets:
        assert [n.partition(": ")[2] for n in notes] == ["time_in, fail"]
        out = await called(toolsets, "time_in", '{"town": "Bath"}')
        assert "noon in Bath" in out.output
        failed = await called(toolsets, "fail", "{}")
        assert failed.is_error
        assert "fail" in failed.output


async def test_a_command_that_is_no_server_says_why(tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    program.write_text("raise SystemExit('the licence is missing')\n")
    made = options(["--mcp", f"{sys.executable} {program}"])
    with pytest.raises(ToolServerError, match="the licence is missing"):
        async with mcp_servers.connected(made.mcp, []):
            pass


async def test_nobody_at_the_address(unused_port: int) -> None:
    made = options(["--mcp", f"http://127.0.0.1:{unused_port}/mcp?token=canary-4f9d2c7e1b8a"])
    with pytest.raises(ToolServerError, match=rf"127\.0\.0\.1:{unused_port}/mcp could not be reached") as refused:
        async with mcp_servers.connected(made.mcp, []):
            pass
    assert "canary" not in str(refused.value)


def test_what_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="command no-such-command is not found"):
        options(["--mcp", "no-such-command --flag"])
    with pytest.raises(ConfigError, match="is no address"):
        options(["--mcp", "ftp://example.org/mcp"])
    with pytest.raises(ConfigError, match="wants an address"):
        options(["--mcp", " "])


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livekit.agents.llm.mcp", None)
    monkeypatch.delattr("livekit.agents.llm.mcp", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'voice-agent\[mcp\]'"):
        options(["--mcp", "https://example.org/mcp"])


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
