"""Tools in a real conversation: recorded speech, the real models, and a provider on loopback that asks for tools."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from livekit.agents import llm

from voice_agent.agent_setup import mcp_servers
from voice_agent.agent_setup.tool_files import load_tools
from voice_agent.budget.ledger import Mark
from voice_agent.clock import SYSTEM
from voice_agent.config import Config, LlmConfig
from voice_agent.testing.harness.items import load_item, speak_items

from .tool_provider import Provider, ran_in

MCP_SERVER = '''
import sys, time
from mcp.server.mcpserver import MCPServer

server = MCPServer("library")


@server.tool()
def find_book(title: str) -> str:
    """Where a book stands."""
    with open(sys.argv[1], "a") as calls:
        calls.write(f"{time.monotonic()}\\n")
    return f"{title} is on the shelf by the window"


server.run()
'''


@pytest.mark.e2e
async def test_a_recorded_question_a_tool_and_a_spoken_answer(
    provider: Provider, tools_file: Path, speech: Path
) -> None:
    """The whole pipeline: the tool runs once, after the end of turn, and its result is spoken."""
    tools = load_tools([tools_file])
    at: list[float] = []
    ran = ran_in(tools)
    config = Config(llm=LlmConfig(base_url=provider.base_url))

    @llm.function_tool
    async def look(name: str) -> str:
        """Look somebody up."""
        at.append(SYSTEM.now())
        return f"{name} lives in the green house"

    provider.tool = ("look", {"name": "Ada"})
    result = await speak_items(config, [load_item(str(speech / "ask02.wav"), config)], tools=[*tools, look])
    (turn,) = result.turns
    assert turn.error is None
    assert "Ada lives in the green house" in (turn.agent_text or "")
    assert len(at) == 1
    committed = turn.marks[Mark.TURN_COMMITTED]
    assert committed is not None
    assert at[0] >= committed
    assert ran == []
    assert len(provider.bodies) >= 2


@pytest.mark.e2e
async def test_a_recorded_question_and_a_tool_of_an_mcp_server(
    provider: Provider, tmp_path: Path, speech: Path
) -> None:
    """With a real MCP server on its standard input and output: called once, after the end of turn."""
    program, calls = tmp_path / "library.py", tmp_path / "calls"
    program.write_text(MCP_SERVER)
    config = Config(llm=LlmConfig(base_url=provider.base_url))
    provider.tool = ("find_book", {"title": "Emma"})
    server = mcp_servers.server(f"{sys.executable} {program} {calls}")
    result = await speak_items(config, [load_item(str(speech / "ask02.wav"), config)], mcp=[server])
    (turn,) = result.turns
    assert turn.error is None
    assert "Emma is on the shelf by the window" in (turn.agent_text or "")
    assert [tool["function"]["name"] for tool in provider.bodies[0]["tools"]] == ["find_book"]
    (called_at,) = calls.read_text().splitlines()
    committed = turn.marks[Mark.TURN_COMMITTED]
    assert committed is not None
    assert float(called_at) >= committed, "both are of the machine's monotonic clock"
    assert any(note.startswith("MCP server") and "find_book" in note for note in result.notes), result.notes
