"""Tools in a conversation: a real session and the real client, against a provider on loopback that asks for tools."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Never

import pytest
from aiohttp import web
from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import AudioBuffer
from livekit.agents.voice.io import AudioInput

from voice_agent.agent_setup import mcp_servers
from voice_agent.agent_setup.tool_files import load_tools
from voice_agent.budget.ledger import Mark
from voice_agent.clock import SYSTEM
from voice_agent.config import Config, LlmConfig
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.provider_table import CUSTOM
from voice_agent.llm.types import Endpoint
from voice_agent.testing.harness.items import load_item, speak_items

PATIENCE_S = 20.0
TOOLS = '''
ran = []


def close_account(name: str) -> str:
    """Close somebody's account for good.

    Args:
        name: whose account
    """
    ran.append(name)
    return f"the account of {name} is closed"


def burn() -> str:
    """Fails."""
    ran.append("burn")
    raise OSError("the matches are wet")
'''


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


class Provider:
    """Answers a user with a call of ``tool``, a tool's result with words that quote it. ``bodies``: what was asked."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.tool = ("close_account", {"name": "Ada"})
        self.calls_for: Callable[[str], bool] = lambda text: True
        self.base_url = ""

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "llama-3.3-70b"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        last = body["messages"][-1]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if last["role"] == "user" and self.calls_for(last["content"]):
            name, arguments = self.tool
            raw = json.dumps(arguments)
            first = {"index": 0, "id": f"call_{len(self.bodies)}", "type": "function"}
            await self._send(response, {"tool_calls": [{**first, "function": {"name": name, "arguments": raw[:4]}}]})
            await self._send(response, {"tool_calls": [{"index": 0, "function": {"arguments": raw[4:]}}]})
            await self._send(response, {}, "tool_calls")
        else:
            words = f"Done, {last['content']}." if last["role"] == "tool" else "Well, that is another question."
            await self._send(response, {"content": words})
            await self._send(response, {}, "stop")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, delta: dict[str, Any], done: str | None = None) -> None:
        chunk = {"id": "r", "choices": [{"index": 0, "delta": delta, "finish_reason": done}]}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    double = Provider()
    app = web.Application()
    app.router.add_get("/v1/models", double.models)
    app.router.add_post("/v1/chat/completions", double.chat)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    double.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield double
    await runner.cleanup()


@pytest.fixture
def tools_file(tmp_path: Path) -> Path:
    path = tmp_path / "office.py"
    path.write_text(TOOLS)
    return path


class Ears(stt.STT[Never]):
    """An STT that hears what the test says it hears."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self.events: asyncio.Queue[stt.SpeechEvent] = asyncio.Queue()

    def hear(self, kind: stt.SpeechEventType, text: str = "") -> None:
        said = [stt.SpeechData(language="en", text=text)] if text else []  # type: ignore[arg-type]  # a str is taken
        self.events.put_nowait(stt.SpeechEvent(type=kind, alternatives=said))

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.RecognizeStream:
        return _EarStream(stt=self, conn_options=conn_options)

    async def _recognize_impl(
        self, buffer: AudioBuffer, *, language: NotGivenOr[str] = NOT_GIVEN, conn_options: APIConnectOptions
    ) -> stt.SpeechEvent:
        raise AssertionError("streaming only")


class _EarStream(stt.RecognizeStream):
    async def _run(self) -> None:
        assert isinstance(self._stt, Ears)
        while True:
            self._event_ch.send_nowait(await self._stt.events.get())


class Silence(AudioInput):
    def __init__(self) -> None:
        super().__init__(label="silence")

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.sleep(0.02)
        return rtc.AudioFrame(bytes(640), 16_000, 1, 320)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.01)


class Call:
    """A session whose words are read, its ears, its tools, and the record of what ran."""

    def __init__(self, session: AgentSession[Any], ears: Ears, mind: ChatLLM, ran: list[str]) -> None:
        self.session, self.ears, self.mind, self.ran = session, ears, mind, ran

    def said(self) -> list[str]:
        return [
            item.text_content or ""
            for item in self.session.history.items
            if isinstance(item, llm.ChatMessage) and item.role == "assistant"
        ]

    async def provisional_answer(self, text: str, answers: int) -> None:
        """Speech begins, ``text`` is asked on, and the answer has come in whole."""
        self.ears.hear(stt.SpeechEventType.START_OF_SPEECH)
        self.ears.hear(stt.SpeechEventType.INTERIM_TRANSCRIPT, text)
        self.ears.hear(stt.SpeechEventType.PREFLIGHT_TRANSCRIPT, text)
        await until(lambda: self.mind.snapshot().completed == answers)
        await asyncio.sleep(0.3)  # whoever would run a tool now, has had the time to

    def commit(self, text: str) -> None:
        self.ears.hear(stt.SpeechEventType.FINAL_TRANSCRIPT, text)
        self.ears.hear(stt.SpeechEventType.END_OF_SPEECH)


@pytest.fixture
async def call(provider: Provider, tools_file: Path) -> AsyncIterator[Call]:
    """The session's settings are those of voice_agent/pipeline/session.py."""
    tools = load_tools([tools_file])
    mind = ChatLLM(Endpoint(CUSTOM, provider.base_url, None, None, False, "test"), warm_connections=0)
    ears = Ears()
    session: AgentSession[Any] = AgentSession(
        stt=ears,
        llm=mind,
        vad=None,
        turn_handling={
            "turn_detection": "stt",
            "endpointing": {"min_delay": 0.0, "max_delay": 0.0},
            "preemptive_generation": {"enabled": True, "preemptive_tts": True, "max_retries": 5},
        },
    )
    session.input.audio = Silence()
    await session.start(Agent(instructions="Help.", tools=list(tools)))
    yield Call(session, ears, mind, ran_in(tools))
    await session.aclose()
    await mind.aclose()


def ran_in(tools: tuple[Any, ...]) -> list[str]:
    ran: list[str] = sys.modules[tools[0].__module__].ran
    return ran


async def test_a_provisional_reply_runs_its_tool_only_after_the_commit(call: Call, provider: Provider) -> None:
    await call.provisional_answer("Close the account of Ada.", answers=1)
    assert call.ran == []
    call.commit("Close the account of Ada.")
    await until(call.said)
    assert call.ran == ["Ada"]
    assert call.said() == ["Done, the account of Ada is closed."]
    assert len(provider.bodies) == 2, "the provisional answer was used, and its tool's result told"
    asked, result = provider.bodies[1]["messages"][-2:]
    assert asked["tool_calls"][0]["function"] == {"name": "close_account", "arguments": '{"name": "Ada"}'}
    assert (result["role"], result["content"]) == ("tool", "the account of Ada is closed")
    assert result["tool_call_id"] == asked["tool_calls"][0]["id"]


async def test_a_withdrawn_reply_never_runs_its_tool(call: Call, provider: Provider) -> None:
    provider.calls_for = lambda text: "not" not in text
    await call.provisional_answer("Close the account of Ada.", answers=1)
    call.ears.hear(stt.SpeechEventType.INTERIM_TRANSCRIPT, "Close the account of Ada? Do not!")
    call.ears.hear(stt.SpeechEventType.PREFLIGHT_TRANSCRIPT, "Close the account of Ada? Do not!")
    await until(lambda: call.mind.snapshot().completed == 2)
    call.commit("Close the account of Ada? Do not!")
    await until(call.said)
    await asyncio.sleep(0.3)
    assert call.ran == []
    assert call.said() == ["Well, that is another question."]
    assert "tool" not in {message["role"] for body in provider.bodies for message in body["messages"]}


async def test_words_that_change_at_the_commit_throw_the_tool_away(call: Call, provider: Provider) -> None:
    provider.calls_for = lambda text: "not" not in text
    await call.provisional_answer("Close the account of Ada.", answers=1)
    call.commit("Close the account of Ada? Better not.")
    await until(call.said)
    assert call.ran == []


async def test_a_tool_that_raises_does_not_end_the_call(call: Call, provider: Provider) -> None:
    provider.tool = ("burn", {})
    await call.provisional_answer("Light the fire.", answers=1)
    call.commit("Light the fire.")
    await until(call.said)
    assert provider.bodies[1]["messages"][-1]["content"] == "burn failed: OSError: the matches are wet"
    provider.tool = ("no_such_tool", {})
    await call.provisional_answer("And again.", answers=3)
    call.commit("And again.")
    await until(lambda: len(call.said()) == 2)
    assert "Unknown function: no_such_tool" in provider.bodies[3]["messages"][-1]["content"]
    assert call.ran == ["burn"]


@pytest.mark.e2e
async def test_a_recorded_question_a_tool_and_a_spoken_answer(
    provider: Provider, tools_file: Path, speech: Path
) -> None:
    """The whole road: real ears, real voice; the tool runs once, after the commit, and its result is spoken."""
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
    """The whole road with a real MCP server on its standard input and output: asked for once, after the commit."""
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


async def test_a_word_with_another_ending_gets_a_reply_of_its_own(call: Call, provider: Provider) -> None:
    asked, heard = "Pay my bill.", "Pay my bills."
    provider.calls_for = lambda text: False
    await call.provisional_answer(asked, answers=1)
    call.commit(heard)
    await until(call.said)
    assert len(provider.bodies) == 2
    said_by_user = [m.text_content for m in call.session.history.messages() if m.role == "user"]
    assert said_by_user == [heard]
