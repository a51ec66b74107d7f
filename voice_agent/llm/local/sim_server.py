"""The program that :mod:`voice_agent.llm.local.sim` starts. It imports only the standard library and aiohttp.

Usage: ``python sim_server.py '{"ttft_s": 0.17, "tps": 2314, ...}'``. Prints ``port N`` and serves until its standard
input closes. Replies are canned; a checksum of the user's last text selects one, so equal texts get equal replies.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import signal
import sys
import zlib
from typing import Any

from aiohttp import web

MODEL = "simulated-70b"
TOKENS_PER_WORD = 1.3
# A short clause, then one or two sentences, like a chat model that is told to answer briefly.
REPLIES = (
    "Sure, I can help with that. The short answer is that it depends on what you need most. Shall I go on?",
    "Good question. Most people start with the simplest option and change it later if they have to.",
    "Yes, that works. I would do it in the morning, when it is quiet, and allow about twenty minutes for it.",
    "Okay, let me think. There are two ways to do this, and the first one is usually faster.",
    "Of course. You can find it near the entrance, just behind the large green door on the left side.",
    "Well, not exactly. It was built a little later than that, but the idea behind it is much older.",
    "Right, here is the plan. First we check what you already have, and then we fill in what is missing.",
    "I see. That happens quite often, and it is easy to fix. Would you like me to explain how?",
)
LONG_REPLY = (
    "Well, that is a long story, so let me tell it from the beginning. The house was built by a family who came from "
    "the north, a little more than two hundred years ago. They had planned to stay for one summer, but the garden was"
    " so large, and the view over the river so good, that nobody wanted to leave. In the second year they added the "
    "long room with the seven windows, where the music was played, and in the third year the small tower, which you "
    "can still see from the road. After that the family grew quiet, and the house with it. Some say that the youngest"
    " daughter kept a diary about those years, and that it lies under one of the old stones near the gate."
)
FAILURES = {
    "401": (401, "Wrong API key provided", "invalid_api_key"),
    "404": (404, "Model does not exist or you do not have access to it", "model_not_found"),
    "429": (429, "Tokens per minute limit exceeded", "rate_limit"),
    "500": (500, "Internal server error", "server_error"),
    "503": (503, "We are experiencing high traffic", "overloaded"),
}


def first_token_s(median_s: float, sigma: float, stall_share: float, stall_s: float, seed: int, number: int) -> float:
    """The drawn time to the first token of request ``number``: see :class:`voice_agent.llm.sim_spec.SimSpec`."""
    draw = random.Random(f"{seed}/{number}")
    stalls = draw.random() < stall_share
    return median_s * math.exp(sigma * draw.gauss(0.0, 1.0)) + (stall_s if stalls else 0.0)


class Double:
    """The speed and the counts of the server."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.ttft_s: float = spec["ttft_s"]
        self.tps: float = spec["tps"]
        self.stall_at: int | None = spec["stall_at"]
        self.stall_s: float = spec["stall_s"]
        self.error: str | None = spec["error"]
        self.every: int = spec["every"]
        self.reply: str = spec["reply"]
        self.drawn = (spec["ttft_sigma"], spec["stall_share"], spec["stall_s"], spec["seed"])
        self.requests = self.cancelled = self.completed = 0

    async def models(self, request: web.Request) -> web.Response:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "simulated"}
        return web.json_response({"object": "list", "data": [model]})

    async def stats(self, request: web.Request) -> web.Response:
        return web.json_response({"requests": self.requests, "cancelled": self.cancelled, "completed": self.completed})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        number = self.requests
        arrived = asyncio.get_running_loop().time()
        try:
            response = await self._answer(request, number, arrived)
        except (ConnectionResetError, asyncio.CancelledError):
            self.cancelled += 1
            raise
        self.completed += 1
        return response

    async def _answer(self, request: web.Request, number: int, arrived: float) -> web.StreamResponse:
        body = await request.json()
        misbehave = number % self.every == 0
        ttft_s = first_token_s(self.ttft_s, *self.drawn, number)
        error = self.error if misbehave else None
        if error in FAILURES:
            status, message, code = FAILURES[error]
            await _until(arrived + ttft_s)
            headers = {"Retry-After": "2"} if error == "429" else {}
            body = {"error": {"message": message, "type": code, "code": code}}
            return web.json_response(body, status=status, headers=headers)
        if error == "wrapped429":
            await _until(arrived + ttft_s)
            return web.json_response({"error": {"message": "Too many requests upstream", "code": 429}})

        text = _last_user_text(body)
        short = REPLIES[zlib.crc32(text.encode()) % len(REPLIES)]
        words = (LONG_REPLY if self.reply == "long" else short).split()
        if (limit := body.get("max_completion_tokens") or body.get("max_tokens")) is not None:
            words = words[: max(1, int(limit / TOKENS_PER_WORD))]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        stalled = 0.0
        for index, word in enumerate(words):
            if error == "silence" and index == 0:
                await asyncio.sleep(3600)
            if misbehave and index == self.stall_at:
                stalled = self.stall_s
            await _until(arrived + ttft_s + index * TOKENS_PER_WORD / self.tps + stalled)
            if index == len(words) // 2 and error in ("midstream", "hangup", "notjson"):
                return await self._break_off(request, response, error)
            await response.write(_event(number, delta={"content": word + (" " if index + 1 < len(words) else "")}))
        await response.write(_event(number, finish="stop"))
        tokens = round(len(words) * TOKENS_PER_WORD)
        prompt = round(len(json.dumps(body.get("messages", []))) / 5)
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
        await response.write(_event(number, usage=usage))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _break_off(self, request: web.Request, response: web.StreamResponse, error: str) -> web.StreamResponse:
        if error == "midstream":
            await response.write(b'data: {"error": {"message": "Upstream failed", "code": 502}}\n\n')
        elif error == "notjson":
            await response.write(b"data: <html>Bad gateway</html>\n\n")
        elif request.transport is not None:
            request.transport.close()
        return response


def _last_user_text(body: dict[str, Any]) -> str:
    texts = [message.get("content") for message in body.get("messages", []) if message.get("role") == "user"]
    return json.dumps(texts[-1]) if texts else ""


def _event(
    number: int,
    *,
    delta: dict[str, Any] | None = None,
    finish: str | None = None,
    usage: dict[str, Any] | None = None,
) -> bytes:
    choices = [] if usage else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    body: dict[str, Any] = {
        "id": f"simulated-{number}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": MODEL,
    }
    body["choices"] = choices
    if usage is not None:
        body["usage"] = usage
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def _until(due: float) -> None:
    # The event loop wakes up to a millisecond late, so a word that is nearly due is sent at once.
    delay = due - asyncio.get_running_loop().time()
    if delay > 0.0005:
        await asyncio.sleep(delay)


def _not_a_hang_up(record: logging.LogRecord) -> bool:
    """False for a closed connection: a hedged client closes the slower request, which is no error."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConnectionResetError))


async def serve(spec: dict[str, Any]) -> None:
    double = Double(spec)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/chat/completions", double.chat)
    app.router.add_get("/v1/models", double.models)
    app.router.add_get("/stats", double.stats)
    logging.getLogger("aiohttp.server").addFilter(_not_a_hang_up)
    # handler_cancellation: detect a closed connection during a wait, not only at the next write.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"port {runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    # The terminal sends Ctrl-C to the child as well; its parent decides when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve(json.loads(sys.argv[1])))
