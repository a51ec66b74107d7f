"""The page against an agent that is a script: what it sends, and what of it is seen. No model runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from livekit import api, rtc

from voice_agent.budget import Budget, TurnBuilder
from voice_agent.budget.export import to_row
from voice_agent.budget.stats import percentile
from voice_agent.room.access import LiveKitAccess
from voice_agent.web import livekit_server
from voice_agent.web.children import Child

if TYPE_CHECKING:
    from playwright.async_api import Page as Tab

Browse: TypeAlias = "Callable[..., AbstractAsyncContextManager[Tab]]"
Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[str]]
FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

pytestmark = pytest.mark.e2e
HOSTILE = "<img src=x onerror=alert(1)> & <b>bold</b>"


@dataclass
class Agent:
    """An agent in the page's room, and what the page asked of it."""

    room: rtc.Room
    caller: str
    interrupts: int = 0
    chats: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def state(self, state: str) -> None:
        await self.room.local_participant.set_attributes({"lk.agent.state": state})

    async def says(self, text: str, *, of_caller: bool, segment: str, final: bool) -> None:
        """One transcription stream, as LiveKit Agents sends it."""
        writer = await self.room.local_participant.stream_text(
            topic="lk.transcription",
            sender_identity=self.caller if of_caller else self.room.local_participant.identity,
            attributes={"lk.segment_id": segment, "lk.transcription_final": str(final).lower()},
        )
        for word in text.split(" "):
            await writer.write(f"{word} ")
        await writer.aclose()

    async def turn(self, text: str) -> None:
        await self.room.local_participant.send_text(
            text, topic="voice_agent.turn", destination_identities=[self.caller]
        )

    async def usage(self, *rows: dict[str, Any]) -> None:
        text = json.dumps({"schema": 1, "providers": rows})
        await self.room.local_participant.send_text(
            text, topic="voice_agent.usage", destination_identities=[self.caller]
        )


@contextlib.asynccontextmanager
async def agent_in_the_only_room(access: LiveKitAccess) -> AsyncIterator[Agent]:
    async with api.LiveKitAPI(access.url, access.api_key, access.api_secret.reveal()) as server:
        (found,) = (await server.room.list_rooms(api.ListRoomsRequest())).rooms
        (caller,) = (await server.room.list_participants(api.ListParticipantsRequest(room=found.name))).participants
    assert caller.attributes == {"voice_agent.ledger": "1"}
    assert not caller.permission.can_update_metadata
    grants = api.VideoGrants(room_join=True, room=found.name, agent=True, can_update_own_metadata=True)
    token = api.AccessToken(access.api_key, access.api_secret.reveal()).with_identity("agent").with_kind("agent")
    room = rtc.Room()
    agent = Agent(room, caller.identity)

    def chat(reader: rtc.TextStreamReader, identity: str) -> None:
        async def read() -> None:
            agent.chats.append(await reader.read_all())
            agent.asked.set()

        tasks.add(asyncio.ensure_future(read()))

    async def interrupt(data: rtc.RpcInvocationData) -> str:
        agent.interrupts += 1
        agent.asked.set()
        return ""

    tasks: set[asyncio.Future[None]] = set()
    room.register_text_stream_handler("lk.chat", chat)
    await room.connect(access.url, token.with_grants(grants).to_jwt())
    room.local_participant.register_rpc_method("voice_agent.interrupt", interrupt)
    try:
        yield agent
    finally:
        await room.disconnect()


def row(number: int, total_ms: float, llm_ms: float, **more: Any) -> str:
    """A turn of ``total_ms`` of which ``llm_ms`` went to the model, as the worker sends it."""
    builder = TurnBuilder(number, user_text=HOSTILE if number == 1 else f"question {number}")
    at = 10.0
    for name, after_ms in (
        ("speech_ended", 0.0),
        ("transcript_ready", 40.0),
        ("llm_requested", 50.0),
        ("llm_first_content", 50.0 + llm_ms),
        ("chunk_ready", 55.0 + llm_ms),
        ("tts_first_audio", 90.0 + llm_ms),
        ("turn_committed", 45.0),
        ("first_audible", total_ms),
    ):
        builder.mark(name, at + after_ms / 1000)
    for name, value in more.items():
        setattr(builder, name, value)
    return json.dumps(to_row(builder.build(), Budget()))


async def until(condition: Callable[[], bool], event: asyncio.Event) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await event.wait()
            event.clear()


async def test_a_connection_that_comes_back_is_the_same_call(
    browse: Browse, serve: Serve, server_binary: Path, tmp_path: Path
) -> None:
    # What livekit-client says of it
    expected = ["WebSocket", "ERR_CONNECTION", "Failed to fetch", "signal", "reconnect", "(re)connect"]
    child, access = await livekit_server.start(server_binary, tmp_path)
    try:
        async with serve(access, agent_timeout_s=60.0) as address, browse(*FAKE_MICROPHONE, expected=expected) as tab:
            await tab.goto(address)
            await tab.locator("#call").click()
            await tab.locator("#state[data-state=waiting]").wait_for()
            async with agent_in_the_only_room(access) as agent:
                await agent.state("listening")
                await tab.locator("#state[data-state=listening]").wait_for()
                await agent.says("Before the break.", of_caller=False, segment="s1", final=True)
                await tab.locator(".line.agent").wait_for()
                os.kill(child.pid, signal.SIGKILL)
                await child.ended()
                await tab.locator("#notice", has_text="Connection lost").wait_for()
                assert await tab.locator("#state-words").inner_text() == "Reconnecting"
                # The same server again, as an operator would have it: same address, same key.
                child = await Child.start(
                    "livekit-server", [str(server_binary), "--config", str(tmp_path / "livekit.yaml")]
                )
                await tab.locator("#notice").wait_for(state="hidden", timeout=60_000)
                await tab.locator("#state[data-state=listening]").wait_for()
                await agent.says("After the break.", of_caller=False, segment="s2", final=True)
                await tab.locator(".line.agent", has_text="After the break.").wait_for()
                assert await tab.locator(".line .words").all_inner_texts() == ["Before the break.", "After the break."]
                await tab.locator("#interrupt").wait_for()
                await tab.get_by_role("button", name="Hang up").click()
                await tab.locator("#state[data-state=off]").wait_for()
    finally:
        await child.stop(0.5)


async def states_are_shown(tab: Tab, agent: Agent) -> None:
    """The agent's state, in words."""
    for state, shown in (("listening", "Listening"), ("thinking", "Thinking"), ("speaking", "Speaking")):
        await agent.state(state)
        await tab.locator("#state-words", has_text=shown).wait_for()


async def words_are_shown(tab: Tab, agent: Agent) -> None:
    """Both sides' words; markup in them is text."""
    await agent.says("what is the", of_caller=True, segment="s1", final=False)
    await tab.locator(".line.you.interim").wait_for()
    await agent.says(HOSTILE, of_caller=True, segment="s1", final=True)
    await tab.locator(".line.you:not(.interim)").wait_for()
    await agent.says("It is noon.", of_caller=False, segment="s2", final=False)
    await tab.locator(".line.agent:not(.interim)").wait_for()
    assert await tab.locator(".line .words").all_inner_texts() == [HOSTILE, "It is noon."]
    assert await tab.locator("#words-spoken p").all_inner_texts() == [f"You: {HOSTILE}", "Agent: It is noon."]


async def requests_reach_the_agent(tab: Tab, agent: Agent) -> None:
    """The button and the key that interrupt, and typed text."""
    await tab.locator("#interrupt").click()
    await until(lambda: agent.interrupts == 1, agent.asked)
    await tab.keyboard.press("Escape")
    await until(lambda: agent.interrupts == 2, agent.asked)
    await tab.locator("#chat-text").fill("  typed words ")
    await tab.keyboard.press("Enter")
    await until(lambda: agent.chats == ["typed words"], agent.asked)


async def usage_is_shown(tab: Tab, agent: Agent) -> None:
    """What the provider has counted, and the nearest limit."""
    assert not await tab.locator("#usages").is_visible()
    quota = {"quota": "tokens_day", "used": 850_000, "limit": 1_000_000, "source": "configured"}
    counts = {"provider": HOSTILE, "requests_today": 12, "tokens_today": 3400}
    await agent.usage({"provider": "groq"}, {**counts, **quota, "state": "ok"})
    await tab.locator("#usages").wait_for()
    assert await tab.locator("#usages > li").count() == 1, "a row without figures is none"
    assert await tab.locator(".usage-words").inner_text() == f"{HOSTILE} today: 12 requests, 3,400 tokens"
    assert await tab.locator(".usage-quota").inner_text() == "850,000 of 1,000,000 tokens a day"
    assert await tab.locator(".usage-level").evaluate("level => level.style.width") == "85%"
    await agent.usage({**counts, **quota, "used": 1_200_000, "state": "full"})
    await tab.locator(".usage.full .usage-state", has_text="Used up").wait_for()
    assert await tab.locator(".usage-level").evaluate("level => level.style.width") == "100%"


async def turns_are_counted(tab: Tab, agent: Agent) -> None:
    """Turns as bars; a turn that is sent again replaces the first; the figures above them."""
    await agent.turn("not JSON")
    await agent.turn(json.dumps({"schema": 1, "turn": 9}))
    totals = [400.0, 650.0, 460.0]
    for number, (total, llm) in enumerate(zip(totals, (250.0, 480.0, 300.0), strict=True), 1):
        await agent.turn(row(number, total, llm))
    await agent.turn(row(4, 300.0, 150.0, cut_off=True))
    await agent.turn(row(4, 310.0, 160.0, cut_off=True))  # sent again: it replaces the first
    await tab.locator("#bars > li").nth(3).wait_for()
    await tab.locator("#bars .total", has_text="310 ms").wait_for()
    assert await tab.locator("#bars > li").count() == 4
    ordered = sorted(totals)
    for name, value in (
        ("P50", f"{percentile(ordered, 50):.0f} ms"),
        ("P95", f"{percentile(ordered, 95):.0f} ms"),
        ("Turns", "3 of 4"),
        ("Cut off", "1 of 4"),
        ("Over budget", "1 of 3"),
    ):
        figure = tab.locator(".figure", has=tab.get_by_text(name, exact=True)).locator("dd")
        assert " ".join((await figure.inner_text()).split()) == value, name


async def a_late_turn_names_its_stage(tab: Tab) -> None:
    """The bars' lengths, and the stage that exceeds its share."""
    late = tab.locator("#bars > li", has_text="question 2")
    assert await late.locator(".piece.guilty.llm").count() == 1
    assert await late.locator(".tag.bad").inner_text() == "Thinking +280 ms"
    assert await tab.locator(".piece.guilty").count() == 1
    widths = await tab.locator("#bars > li").evaluate_all(
        "rows => rows.map(r => [...r.querySelectorAll('.piece')]"
        "  .reduce((sum, piece) => sum + parseFloat(piece.style.width), 0))"
    )
    assert widths == pytest.approx([31000 / 800, 46000 / 800, 65000 / 800, 40000 / 800], abs=0.05)
    assert await late.locator("button").get_attribute("aria-label") == (
        "Turn 2, 650 milliseconds of a budget of 500, over because of thinking, 280 over its share. question 2"
    )
    await late.locator("button").hover()
    assert "model asked" in await tab.locator("#tip").inner_text()
    await late.locator("button").click()
    assert not await tab.locator("#tip").is_visible()
    assert "+650 ms" in await late.locator(".marks").inner_text()


async def test_what_the_agent_sends_is_seen(browse: Browse, serve: Serve, livekit: LiveKitAccess) -> None:
    async with serve(livekit, agent_timeout_s=60.0) as address, browse(*FAKE_MICROPHONE) as tab:
        await tab.goto(address)
        await tab.locator("#call").click()
        await tab.locator("#state[data-state=waiting]").wait_for()
        async with agent_in_the_only_room(livekit) as agent:
            await states_are_shown(tab, agent)
            await words_are_shown(tab, agent)
            await requests_reach_the_agent(tab, agent)
            await usage_is_shown(tab, agent)
            await turns_are_counted(tab, agent)
            await a_late_turn_names_its_stage(tab)
            assert await tab.locator("#bars img, #words img, #usages img").count() == 0
        await tab.locator("#notice", has_text="The agent left the call").wait_for()
        assert await tab.locator("#state-words").inner_text() == "The agent is gone"
