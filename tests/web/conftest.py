"""A real browser on the real page. Without chromium, playwright or livekit-server a test is skipped, and says so."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from aiohttp import web

from voice_agent.config import WebConfig
from voice_agent.errors import UsageError
from voice_agent.room.access import LiveKitAccess
from voice_agent.web import livekit_server
from voice_agent.web.server import Page
from voice_agent.web.tokens import TokenIssuer

if TYPE_CHECKING:
    from playwright.async_api import Page as Tab

# Chromium hides local addresses behind mDNS names, which nobody resolves here.
FLAGS = (
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)

Browse: TypeAlias = Callable[..., AbstractAsyncContextManager["Tab"]]
Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[str]]
Microphone: TypeAlias = Callable[..., str]


@pytest.fixture(scope="session")
def server_binary() -> Path:
    """The livekit-server program; without it the test is skipped."""
    try:
        return livekit_server.find()
    except UsageError as e:
        pytest.skip(f"NOT TESTED, the room is not there: {e}")


@pytest.fixture
async def livekit(server_binary: Path, tmp_path: Path) -> AsyncIterator[LiveKitAccess]:
    """A LiveKit server on loopback, without an agent."""
    child, access = await livekit_server.start(server_binary, tmp_path)
    yield access
    await child.stop(0.5)  # it would wait for the browser to leave


@pytest.fixture
def browse() -> Browse:
    """``browse(*flags, **context)``: a tab of a headless Chromium. The test fails on an error in its console."""
    playwright = pytest.importorskip("playwright.async_api", reason="NOT TESTED, the page: playwright is not installed")
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("NOT TESTED, the page: chromium is not installed (Debian: apt-get install chromium)")

    @contextlib.asynccontextmanager
    async def go(*flags: str, expected: Sequence[str] = (), **context: Any) -> AsyncIterator[Tab]:
        wrong: list[str] = []

        def said(message: Any) -> None:
            if message.type == "error" and not any(part in message.text for part in expected):
                wrong.append(message.text)

        async with playwright.async_playwright() as p:
            browser = await p.chromium.launch(executable_path=binary, args=[*FLAGS, *flags])
            tab = await (await browser.new_context(**context)).new_page()
            tab.on("console", said)
            tab.on("pageerror", lambda error: wrong.append(str(error)))
            tab.set_default_timeout(20_000)
            try:
                yield tab
            finally:
                await browser.close()
        assert not wrong, wrong

    return go


@pytest.fixture
def serve() -> Serve:
    """``serve(access, **settings)``: the page for that LiveKit server; gives its address."""

    @contextlib.asynccontextmanager
    async def go(access: LiveKitAccess, **settings: Any) -> AsyncIterator[str]:
        config = WebConfig(**settings)
        issuer = TokenIssuer(access, agent_name="nobody", ttl_s=config.token_ttl_s)
        runner = web.AppRunner(Page(config, issuer, access.url).application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://localhost:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()
            await asyncio.sleep(0)

    return go


@pytest.fixture
def microphone(tmp_path: Path, speech: Path) -> Microphone:
    """``microphone("ask01", ...)``: a flag that makes these recordings the microphone, again and again, with pauses."""

    def make(*names: str, gap_s: float = 7.0) -> str:
        parts = [np.zeros(int(16000 * gap_s), np.int16)]
        for name in names:
            with wave.open(str(speech / f"{name}.wav")) as reader:
                parts.append(np.frombuffer(reader.readframes(reader.getnframes()), np.int16))
            parts.append(np.zeros(int(16000 * gap_s), np.int16))
        path = tmp_path / "microphone.wav"
        with wave.open(str(path), "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(16000)
            writer.writeframes(np.concatenate(parts).tobytes())
        return f"--use-file-for-fake-audio-capture={path}"

    return make
