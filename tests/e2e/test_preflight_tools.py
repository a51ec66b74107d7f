"""Tools and preflights: a provisional reply never runs a tool. A real session and client; the STT is told its words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Never

import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import AudioBuffer
from livekit.agents.voice.io import AudioInput

from voice_agent.agent_setup.tool_files import load_tools
from voice_agent.livekit_compat.streams import SttStream
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.provider_table import CUSTOM
from voice_agent.llm.types import Endpoint

from .tool_provider import Provider, ran_in

PATIENCE_S = 20.0


class ToldSTT(stt.STT[Never]):
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
        return _ToldStream(stt=self, conn_options=conn_options)

    async def _recognize_impl(
        self, buffer: AudioBuffer, *, language: NotGivenOr[str] = NOT_GIVEN, conn_options: APIConnectOptions
    ) -> stt.SpeechEvent:
        raise AssertionError("streaming only")


class _ToldStream(SttStream):
    async def _run(self) -> None:
        assert isinstance(self._stt, ToldSTT)
        while True:
            self.emit(await self._stt.events.get())


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
    """A session, its STT, its model, and the record of the tools that ran."""

    def __init__(self, session: AgentSession[Any], stt: ToldSTT, model: ChatLLM, ran: list[str]) -> None:
        self.session, self.stt, self.model, self.ran = session, stt, model, ran

    def said(self) -> list[str]:
        return [
            item.text_content or ""
            for item in self.session.history.items
            if isinstance(item, llm.ChatMessage) and item.role == "assistant"
        ]

    async def provisional_answer(self, text: str, answers: int) -> None:
        """Speech begins, ``text`` is preflighted, and the answer has come in whole."""
        self.stt.hear(stt.SpeechEventType.START_OF_SPEECH)
        self.stt.hear(stt.SpeechEventType.INTERIM_TRANSCRIPT, text)
        self.stt.hear(stt.SpeechEventType.PREFLIGHT_TRANSCRIPT, text)
        await until(lambda: self.model.snapshot().completed == answers)
        await asyncio.sleep(0.3)  # time in which a tool could run

    def commit(self, text: str) -> None:
        self.stt.hear(stt.SpeechEventType.FINAL_TRANSCRIPT, text)
        self.stt.hear(stt.SpeechEventType.END_OF_SPEECH)


@pytest.fixture
async def call(provider: Provider, tools_file: Path) -> AsyncIterator[Call]:
    """The session has the settings of voice_agent/pipeline/session.py."""
    tools = load_tools([tools_file])
    model = ChatLLM(Endpoint(CUSTOM, provider.base_url, None, None, False, "test"), warm_connections=0)
    stt = ToldSTT()
    session: AgentSession[Any] = AgentSession(
        stt=stt,
        llm=model,
        vad=None,
        turn_handling={
            "turn_detection": "stt",
            "endpointing": {"min_delay": 0.0, "max_delay": 0.0},
            "preemptive_generation": {"enabled": True, "preemptive_tts": True, "max_retries": 5},
        },
    )
    session.input.audio = Silence()
    await session.start(Agent(instructions="Help.", tools=list(tools)))
    yield Call(session, stt, model, ran_in(tools))
    await session.aclose()
    await model.aclose()


async def test_a_provisional_reply_runs_its_tool_only_after_the_end_of_turn(call: Call, provider: Provider) -> None:
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


async def test_a_cancelled_preflight_never_runs_its_tool(call: Call, provider: Provider) -> None:
    provider.calls_for = lambda text: "not" not in text
    await call.provisional_answer("Close the account of Ada.", answers=1)
    call.stt.hear(stt.SpeechEventType.INTERIM_TRANSCRIPT, "Close the account of Ada? Do not!")
    call.stt.hear(stt.SpeechEventType.PREFLIGHT_TRANSCRIPT, "Close the account of Ada? Do not!")
    await until(lambda: call.model.snapshot().completed == 2)
    call.commit("Close the account of Ada? Do not!")
    await until(call.said)
    await asyncio.sleep(0.3)
    assert call.ran == []
    assert call.said() == ["Well, that is another question."]
    assert "tool" not in {message["role"] for body in provider.bodies for message in body["messages"]}


async def test_words_that_change_at_the_end_of_turn_throw_the_tool_away(call: Call, provider: Provider) -> None:
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


async def test_a_word_with_another_ending_gets_a_reply_of_its_own(call: Call, provider: Provider) -> None:
    asked, heard = "Pay my bill.", "Pay my bills."
    provider.calls_for = lambda text: False
    await call.provisional_answer(asked, answers=1)
    call.commit(heard)
    await until(call.said)
    assert len(provider.bodies) == 2
    said_by_user = [m.text_content for m in call.session.history.messages() if m.role == "user"]
    assert said_by_user == [heard]
