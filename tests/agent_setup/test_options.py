"""Personas, tool files, languages and MCP servers: what is read, and what is refused in which words."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import llm
from livekit.agents.llm.utils import execute_function_call

from voice_agent.agent_setup import mcp_servers
from voice_agent.agent_setup.options import AgentOptions, add_agent_flags, load, multilingual
from voice_agent.agent_setup.persona import read_persona
from voice_agent.agent_setup.tool_files import load_tools
from voice_agent.commands.common import add_settings, read_config
from voice_agent.config import AgentConfig, Config
from voice_agent.errors import ConfigError, ToolServerError

PERSONA = """---
name: Ada
voice: en_US-joe-medium
greeting: "Hello, this is Ada."
language: en
tools: [desk.py]
---
You answer questions about the town library.

- Opening hours: ten to six.
"""
DESK = '''
from __future__ import annotations
import threading
from dataclasses import dataclass
from livekit.agents import RunContext, function_tool


@dataclass
class Reader:
    name: str


def fine_for(days: int, reader: str = "anybody") -> str:
    """The fine for a book that is late.

    Args:
        days: how many days late the book is
    """
    return f"{reader} pays {days * 10} pence ({threading.current_thread().name})"


async def renew(ctx: RunContext, title: str) -> str:
    """Renew a book by its title."""
    return f"renewed {title}"


@function_tool(name="shelf")
def where(title: str) -> str:
    """Which shelf a book is on."""
    return f"{title} is on shelf 4 ({threading.current_thread().name})"


def burn(title: str) -> str:
    """Fails."""
    raise LookupError(f"no book called {title}")


def _helper(anything):
    return anything
'''


def options(argv: Sequence[str]) -> AgentOptions:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    add_agent_flags(parser)
    args = parser.parse_args(argv)
    return load(args, read_config(args))


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VOICE_AGENT_CONFIG", raising=False)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    path = tmp_path / "desk.py"
    path.write_text(DESK)
    return path


class TestPersona:
    def test_a_whole_one(self, tmp_path: Path, desk: Path) -> None:
        (tmp_path / "ada.md").write_text(PERSONA)
        made = options(["--persona", str(tmp_path / "ada.md")])
        agent = made.config.agent
        assert (agent.name, agent.greeting) == ("Ada", "Hello, this is Ada.")
        assert agent.instructions.startswith("You answer questions about the town library.")
        assert agent.instructions.endswith("- Opening hours: ten to six.")
        assert [tool.id for tool in made.tools] == ["fine_for", "renew", "shelf", "burn"]
        assert agent.prompt.startswith("Your name is Ada. You answer questions")
        assert "no markdown" in agent.prompt

    def test_a_flag_wins_over_the_persona_and_the_persona_over_the_file(self, tmp_path: Path) -> None:
        persona, toml = tmp_path / "p.md", tmp_path / "c.toml"
        persona.write_text('+++\nname = "Ada"\ngreeting = "Hi."\nmodel = "m1"\n+++\nBe kind.\n')
        toml.write_text('[agent]\nname = "Bob"\napology = "Oh."\n[llm]\nmodel = "m0"\n')
        base = ["--config", str(toml), "--persona", str(persona)]
        config = options(base).config
        assert (config.agent.name, config.agent.greeting, config.agent.apology) == ("Ada", "Hi.", "Oh.")
        assert (config.llm.model, config.agent.instructions) == ("m1", "Be kind.")
        config = options(
            [*base, "--model", "m2", "--instructions", "Be brief.", "--set", "agent.greeting=Good day."]
        ).config
        assert (config.llm.model, config.agent.instructions) == ("m2", "Be brief.")
        assert (config.agent.name, config.agent.greeting) == ("Ada", "Good day.")

    def test_plain_text_is_all_instructions(self, tmp_path: Path) -> None:
        (tmp_path / "p.md").write_text("You are a pirate.\n")
        persona = read_persona(tmp_path / "p.md")
        assert (persona.instructions, persona.name, persona.tools) == ("You are a pirate.", None, ())

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("---\nvoise: x\n---\nHi", "unknown key 'voise'; did you mean 'voice'?"),
            ("---\nname: 3\n---\nHi", "name: 3 is not text; put it in quotes"),
            ("---\nlanguage: no\n---\nHi", "language: False is not text; put it in quotes"),
            ("---\nname: [a\n---\nHi", "not valid YAML: line 2"),
            ("+++\nname = x\n+++\nHi", "not valid TOML"),
            ("---\nname: x\nHi", "no closing ---"),
            ("---\n- a\n---\nHi", "no table"),
            ("---\ntools: {a: 1}\n---\nHi", "tools: {'a': 1} is not a list"),
            ("---\ntools: nowhere.py\n---\nHi", "nowhere.py does not exist"),
            ("  \n", "is empty"),
        ],
    )
    def test_what_is_refused(self, tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "p.md"
        path.write_text(text)
        with pytest.raises(ConfigError) as refused:
            read_persona(path)
        assert str(refused.value).startswith(f"{path}: ")
        assert said in str(refused.value)

    def test_no_such_file_and_no_text(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no such file"):
            read_persona(tmp_path / "p.md")
        (tmp_path / "b.md").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ConfigError, match="not UTF-8"):
            read_persona(tmp_path / "b.md")


def test_the_default_prompt_is_one_text() -> None:
    agent = AgentConfig()
    assert agent.prompt == f"{agent.instructions} {agent.manner}"
    assert AgentConfig(instructions="A.", manner="", name="B").prompt == "Your name is B. A."


async def called(tools: Sequence[Any], name: str, arguments: str) -> llm.FunctionCallOutput:
    call = llm.FunctionToolCall(name=name, arguments=arguments, call_id="c1")
    result = await execute_function_call(call, llm.ToolContext(tools), call_ctx=None)
    assert result.fnc_call_out is not None
    return result.fnc_call_out


class TestToolFiles:
    def test_what_the_model_is_told(self, desk: Path) -> None:
        schema = {f["function"]["name"]: f["function"] for f in _schemas(desk)}
        assert schema["fine_for"]["description"].strip() == "The fine for a book that is late."
        fine = schema["fine_for"]["parameters"]
        assert fine["properties"]["days"]["type"] == "integer"
        assert fine["properties"]["days"]["description"] == "how many days late the book is"
        assert fine["required"] == ["days"]
        assert set(schema["renew"]["parameters"]["properties"]) == {"title"}

    async def test_functions_that_are_not_async_leave_the_loop(self, desk: Path) -> None:
        tools = load_tools([desk])
        for name, arguments in (("fine_for", '{"days": 3}'), ("shelf", '{"title": "Emma"}')):
            out = await called(tools, name, arguments)
            assert not out.is_error
            assert threading.main_thread().name not in out.output
        assert "anybody pays 30 pence" in (await called(tools, "fine_for", '{"days": 3}')).output

    async def test_what_a_tool_raises_is_told_to_the_model(self, desk: Path) -> None:
        out = await called(load_tools([desk]), "burn", '{"title": "Emma"}')
        assert out.is_error
        assert out.output == "burn failed: LookupError: no book called Emma"

    async def test_a_slow_function_does_not_hold_up_the_loop(self, tmp_path: Path) -> None:
        path = tmp_path / "slow.py"
        path.write_text(
            "import threading\ngo = threading.Event()\n"
            'def wait() -> str:\n    """Waits."""\n    assert go.wait(20)\n    return "done"\n'
        )
        (tool,) = load_tools([path])
        call = asyncio.ensure_future(called([tool], "wait", "{}"))
        await asyncio.sleep(0.05)  # the loop runs meanwhile, else this would never end
        assert not call.done()
        sys.modules[tool.__module__].go.set()
        assert (await call).output == "done"

    @pytest.mark.parametrize(
        ("source", "line", "said"),
        [
            ("x = 1\ndef f(:\n", 2, "invalid syntax"),
            ("import nothing_of_this_name\n", 1, "ModuleNotFoundError"),
            ("\n\n1 / 0\n", 3, "ZeroDivisionError: division by zero"),
            ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
            ("def f(a: int) -> int:\n    return a\n", 1, "f() has no docstring"),
            ('\ndef f(a) -> int:\n    """F."""\n    return a\n', 2, "a has no type hint"),
            ('def f(*a: int) -> int:\n    """F."""\n    return 1\n', 1, "*a: int cannot be filled in"),
            ('def f(a: "Nowhere") -> int:\n    """F."""\n    return 1\n', 1, "cannot be described to a model"),
        ],
    )
    def test_a_broken_file(self, tmp_path: Path, source: str, line: int, said: str) -> None:
        path = tmp_path / "tools.py"
        path.write_text(source)
        with pytest.raises(ConfigError) as refused:
            load_tools([path])
        assert str(refused.value).startswith(f"{path}:{line}: ")
        assert said in str(refused.value)

    def test_nothing_in_it_and_the_same_name_twice(self, tmp_path: Path, desk: Path) -> None:
        empty, again = tmp_path / "empty.py", tmp_path / "again.py"
        empty.write_text("import json\n_x = 1\n")
        again.write_text('def renew(a: str) -> str:\n    """R."""\n    return a\n')
        with pytest.raises(ConfigError, match="holds no tool"):
            load_tools([empty])
        with pytest.raises(ConfigError, match=r"again\.py: a tool named 'renew' is in .*desk\.py already"):
            load_tools([desk, again])
        with pytest.raises(ConfigError, match="no such file"):
            load_tools([tmp_path / "nowhere.py"])


def _schemas(path: Path) -> list[dict[str, Any]]:
    return llm.ToolContext(load_tools([path])).parse_function_tools("openai", strict=False)


class TestLanguage:
    def test_english_models_know_english_only(self) -> None:
        assert not multilingual("tiny.en")
        assert multilingual("base")
        with pytest.raises(ConfigError, match=r"--language de: the Whisper model tiny\.en knows English only.*base"):
            options(["--language", "de"])

    def test_another_language(self) -> None:
        made = options(["--language", "German", "--whisper", "base"])
        assert made.config.stt.language == "de"
        assert made.config.agent.instructions.endswith("Speak German only.")
        assert any("en_US-joe-medium speaks English, not German" in note for note in made.notes)

    def test_english_changes_nothing_else(self) -> None:
        made = options(["--language", "en"])
        assert (made.config, made.notes) == (Config(), ())

    def test_no_language(self) -> None:
        with pytest.raises(ConfigError, match="not a language that Whisper knows"):
            options(["--language", "xx", "--whisper", "base"])


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


class TestMcp:
    async def test_a_command(self, tmp_path: Path) -> None:
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

    async def test_a_command_that_is_no_server_says_why(self, tmp_path: Path) -> None:
        program = tmp_path / "broken.py"
        program.write_text("raise SystemExit('the licence is missing')\n")
        made = options(["--mcp", f"{sys.executable} {program}"])
        with pytest.raises(ToolServerError, match="the licence is missing"):
            async with mcp_servers.connected(made.mcp, []):
                pass

    async def test_nobody_at_the_address(self, unused_port: int) -> None:
        made = options(["--mcp", f"http://127.0.0.1:{unused_port}/mcp?token=canary-4f9d2c7e1b8a"])
        with pytest.raises(ToolServerError, match=rf"127\.0\.0\.1:{unused_port}/mcp could not be reached") as refused:
            async with mcp_servers.connected(made.mcp, []):
                pass
        assert "canary" not in str(refused.value)

    def test_what_is_refused_at_once(self) -> None:
        with pytest.raises(ConfigError, match="command no-such-command is not found"):
            options(["--mcp", "no-such-command --flag"])
        with pytest.raises(ConfigError, match="is no address"):
            options(["--mcp", "ftp://example.org/mcp"])
        with pytest.raises(ConfigError, match="wants an address"):
            options(["--mcp", " "])

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
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
