"""A provider on loopback that asks for tools, and a file of tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from aiohttp import web

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


def ran_in(tools: tuple[Any, ...]) -> list[str]:
    """What the tools of :data:`TOOLS` have run, in order."""
    ran: list[str] = sys.modules[tools[0].__module__].ran
    return ran
