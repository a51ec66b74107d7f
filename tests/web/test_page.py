"""The page in a real browser: a whole call, and what it says when something is missing."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from voice_agent.config import Config, LlmConfig, Secret, SttConfig, WebConfig
from voice_agent.room.access import LiveKitAccess
from voice_agent.web import launch, livekit_server

if TYPE_CHECKING:
    from playwright.async_api import Page as Tab

Browse: TypeAlias = "Callable[..., AbstractAsyncContextManager[Tab]]"
Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[str]]
Microphone: TypeAlias = Callable[..., str]
FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

pytestmark = pytest.mark.e2e
NOWHERE = LiveKitAccess("ws://127.0.0.1:9", "key", Secret("a secret that is thirty-two bytes"))


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower()))


async def notice(tab: Tab) -> str:
    """The text of the notice, once there is one."""
    box = tab.locator("#notice")
    await box.wait_for(state="visible")
    return await box.inner_text()


async def test_a_whole_call(browse: Browse, microphone: Microphone, server_binary: Path, speech: Path) -> None:
    spoken = [words(json.loads((speech / f"{name}.json").read_text())["text"]) for name in ("ask01", "ask02")]
    config = Config(
        stt=SttConfig(model="tiny.en"),
        llm=LlmConfig(spec="sim:ttft=170ms,tps=2314"),
        web=WebConfig(port=0),
    )
    flags = (*FAKE_MICROPHONE, microphone("ask01", "ask02"))
    async with launch.running(config) as r, browse(*flags) as tab:
        await tab.goto(r.address)
        assert await tab.locator("#state-words").inner_text() == "Not in a call"
        await tab.get_by_role("button", name="Call").click()
        await tab.locator("#state[data-state=listening]").wait_for()
        devices = await tab.locator("#device option").all_inner_texts()
        assert len(devices) > 1

        await tab.locator("#bars > li").nth(1).wait_for(timeout=120_000)  # two turns
        answered = tab.locator(".total", has_text=re.compile(r"\d ms"))
        row = tab.locator("#bars > li", has=answered).first
        await row.wait_for(timeout=60_000)
        await tab.get_by_role("button", name="Mute", exact=True).click()
        assert await tab.locator("#mute").get_attribute("aria-pressed") == "true"
        # A sentence may have begun before the agent was there; another one was heard whole.
        heard = [words(line) for line in await tab.locator(".line.you .words").all_inner_texts()]
        assert any(len(line & said) >= 0.6 * len(said) for line in heard for said in spoken), heard
        assert len(await tab.locator(".line.agent .words").first.inner_text()) > 10
        assert re.search(r"Cut off\s+\d+\s+of [2-9]", await tab.locator("#figures").inner_text())
        total = int((await row.locator(".total").inner_text()).removesuffix(" ms"))
        assert total > 0

        button = row.locator("button")
        await button.focus()
        await tab.keyboard.press("Enter")
        marks = await row.locator(".marks").inner_text()
        assert "first sound of the answer" in marks
        assert f"+{total} ms" in marks
        assert await button.get_attribute("aria-expanded") == "true"

        await tab.locator("#chat-text").fill("What is the capital of France?")
        await tab.keyboard.press("Enter")
        await tab.locator("#state[data-state=speaking]").wait_for()
        await tab.get_by_role("button", name="Interrupt").click()
        await tab.locator("#state[data-state=listening]").wait_for()
        assert not await tab.locator("#notice").is_visible()

        await tab.get_by_role("button", name="Hang up").click()
        await tab.locator("#state[data-state=off]").wait_for()


async def test_a_blocked_microphone_is_explained(browse: Browse, serve: Serve) -> None:
    flags = ("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    async with serve(NOWHERE) as address, browse(*flags) as tab:
        await tab.goto(address)
        await tab.locator("#call").click()
        said = await notice(tab)
        assert "The microphone is blocked" in said
        assert "address bar" in said
        assert await tab.locator("#call-words").inner_text() == "Call"


async def test_without_a_microphone_one_can_type(browse: Browse, serve: Serve, livekit: LiveKitAccess) -> None:
    none = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('none', 'NotFoundError'); }"
    async with serve(livekit, agent_timeout_s=60.0) as address, browse() as tab:
        await tab.add_init_script(none)  # this machine may well have one
        await tab.goto(address)
        await tab.locator("#call").click()
        assert "No microphone found" in await notice(tab)
        await tab.get_by_role("button", name="Type instead").click()
        await tab.locator("#state[data-state=waiting]").wait_for()
        assert await tab.locator("#mute").is_disabled()


async def test_an_agent_that_does_not_come_is_explained(browse: Browse, serve: Serve, livekit: LiveKitAccess) -> None:
    async with serve(livekit, agent_timeout_s=0.5) as address, browse(*FAKE_MICROPHONE) as tab:
        await tab.goto(address)
        await tab.locator("#call").click()
        said = await notice(tab)
        assert "The agent has not come" in said
        assert "within 0.5 s" in said
        assert await tab.locator("#state").get_attribute("data-state") == "waiting"
        await tab.get_by_role("button", name="Call again").click()
        await tab.locator("#notice").wait_for(state="hidden")
        assert "The agent has not come" in await notice(tab)


async def test_a_livekit_server_that_is_away_is_explained(browse: Browse, serve: Serve) -> None:
    async with serve(NOWHERE) as address, browse(*FAKE_MICROPHONE, expected=["127.0.0.1:9", "ERR_UNSAFE_PORT"]) as tab:
        await tab.goto(address)
        await tab.locator("#call").click()
        assert "The call server is away" in await notice(tab)


async def test_a_page_server_that_is_away_is_explained(browse: Browse, serve: Serve) -> None:
    async with browse(*FAKE_MICROPHONE, expected=["ERR_CONNECTION_REFUSED"]) as tab:
        async with serve(NOWHERE) as address:
            await tab.goto(address)
        await tab.locator("#call").click()
        assert "The server is away" in await notice(tab)


async def test_a_connection_that_is_lost_is_explained(
    browse: Browse, serve: Serve, server_binary: Path, tmp_path: Path
) -> None:
    child, access = await livekit_server.start(server_binary, tmp_path)
    try:
        # What a browser says of a server that is gone
        expected = ["WebSocket connection", "ERR_CONNECTION", "Failed to fetch", "signal", "reconnect"]
        async with serve(access, agent_timeout_s=60.0) as address, browse(*FAKE_MICROPHONE, expected=expected) as tab:
            await tab.goto(address)
            await tab.locator("#call").click()
            await tab.locator("#state[data-state=waiting]").wait_for()
            os.kill(child.pid, signal.SIGKILL)
            assert "Connection lost" in await notice(tab)
    finally:
        await child.stop(1.0)


async def test_the_secret_is_asked_for(browse: Browse, serve: Serve, livekit: LiveKitAccess) -> None:
    word = "correct horse battery"
    settings = {"secret": Secret(word), "agent_timeout_s": 60.0}
    async with serve(livekit, **settings) as address, browse(*FAKE_MICROPHONE, expected=["401"]) as tab:
        await tab.goto(address)
        await tab.locator("#call").click()
        await tab.locator("#secret").fill("not that one at all")
        await tab.keyboard.press("Enter")
        await tab.get_by_text("That secret is not the right one.").wait_for()
        await tab.locator("#secret").fill(word)
        await tab.keyboard.press("Enter")
        await tab.locator("#state[data-state=waiting]").wait_for()
        assert not await tab.locator("#secret-form").is_visible()


async def test_too_many_calls_are_explained(browse: Browse, serve: Serve, livekit: LiveKitAccess) -> None:
    settings = {"calls_per_minute": 1, "agent_timeout_s": 60.0}
    async with serve(livekit, **settings) as address, browse(*FAKE_MICROPHONE, expected=["429"]) as tab:
        await tab.goto(address)
        await tab.locator("#call").click()
        await tab.locator("#state[data-state=waiting]").wait_for()
        await tab.locator("#call").click()
        await tab.locator("#state[data-state=off]").wait_for()
        await tab.locator("#call").click()
        said = await notice(tab)
        assert re.search(r"Try again in \d+ seconds", said), said
