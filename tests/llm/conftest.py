"""A provider on loopback that does what a test tells it to: a real HTTP server, so the real client runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from voice_agent.config import Secret
from voice_agent.llm.client import ChatLLM
from voice_agent.llm.provider_table import CUSTOM
from voice_agent.llm.types import Endpoint, RequestDeadlines

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CANARY = "canary-4f9d2c7e1b8a"


def chunk(content: str | None = None, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """One chat-completions chunk."""
    if content is not None:
        delta["content"] = content
    return {"id": "req-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"id": "req-1", "choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}, **more}


def event(body: object) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
HELLO = (event(chunk("Hello ")), event(chunk("there.")), event(chunk(finish="stop")), event(usage(12, 3)), DONE)


class FakeProvider:
    """``chat`` answers ``/chat/completions``; ``bodies`` are the requests, ``peers`` the TCP connections seen."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.peers: set[tuple[str, int]] = set()
        self.chat_peers: list[tuple[str, int]] = []
        self.model_requests = 0
        self.disconnected = asyncio.Event()
        self.models: Handler = self.serves("llama-3.3-70b")
        self.chat: Handler = self.says(*HELLO)
        self.base_url = ""

    def serves(self, *names: str) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.json_response({"object": "list", "data": [{"id": name} for name in names]})

        return handler

    def answers(self, status: int, body: object, headers: dict[str, str] | None = None) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.json_response(body, status=status, headers=headers)

        return handler

    def says(self, *pieces: bytes, then: str = "end") -> Handler:
        """A stream of raw ``pieces``; ``then``: ``end``, ``hang up``, or ``silence`` until the client goes."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for piece in pieces:
                await response.write(piece)
                await asyncio.sleep(0)
            if then == "hang up":
                assert request.transport is not None
                request.transport.close()
            elif then == "silence":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.disconnected.set()
                    raise
            return response

        return handler

    def in_turn(self, *handlers: Handler) -> Handler:
        """One handler a request; more requests than handlers is an error."""
        rest = list(handlers)

        async def handler(request: web.Request) -> web.StreamResponse:
            return await rest.pop(0)(request)

        return handler

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        assert request.transport is not None
        self.chat_peers.append(request.transport.get_extra_info("peername"))
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.json())
        return await self.chat(request)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        self.model_requests += 1
        return await self.models(request)

    def _note(self, request: web.Request) -> None:
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    fake = FakeProvider()
    runner = await fake.start()
    yield fake
    await runner.cleanup()


MakeLLM = Callable[..., ChatLLM]


@pytest.fixture
async def make_llm(provider: FakeProvider) -> AsyncIterator[MakeLLM]:
    """``make_llm(model=..., first_content_s=...)``: a client of ``provider``, closed after the test."""
    made: list[ChatLLM] = []

    def make(
        *, model: str | None = "llama-3.3-70b", base_url: str | None = None, warm: int = 0, **limits: float
    ) -> ChatLLM:
        endpoint = Endpoint(CUSTOM, base_url or provider.base_url, Secret(CANARY), model, False, "test")
        made.append(ChatLLM(endpoint, deadlines=RequestDeadlines(**limits), warm_connections=warm))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()
