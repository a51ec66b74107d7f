"""A double for each provider: an HTTP server on loopback that behaves as the provider documents, deviations included.

The documentation is named in ``voice_agent/llm/provider_table.py`` beside the row. A test chooses the reply and the
failure; the double sends them in the provider's own form.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from voice_agent.llm.provider_table import BY_NAME, CUSTOM, Provider

from .service_credentials import KEY, signed_by_us


@dataclass
class Say:
    """The reply and its failure. ``cut``: bytes of each piece on the wire (0: as written).

    ``fail``: ``429``, ``500``, ``mid`` (an error in mid-stream), ``truncated``, ``hang`` (silence after a word).
    """

    words: Sequence[str] = ("Hello ", "there.")
    tool: tuple[str, Sequence[str]] | None = None
    fail: str = ""
    cut: int = 0
    done: bool = True


@dataclass
class Service:
    """The double of one row of the provider table."""

    name: str
    say: Say = field(default_factory=Say)
    aws_signed: bool = False
    bodies: list[dict[str, Any]] = field(default_factory=list)
    encodings: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""
    extra_headers: dict[str, str] = field(default_factory=dict)
    refuse_once: str = ""
    echo: str = "nothing"
    no_gzip: bool = False

    @property
    def row(self) -> Provider:
        return BY_NAME.get(self.name, CUSTOM)

    # --- authentication ------------------------------------------------------------------------------------------

    async def _allowed(self, request: web.Request) -> bool:
        sent = request.headers.get("Authorization", "")
        # A careless service repeats this in its errors.
        self.echo = request.headers.get("api-key") or sent.removeprefix("Bearer ") or "nothing"
        match self.row.auth:
            case "none":
                return True
            case "api-key":
                return request.headers.get("api-key") == KEY and not sent
            case "google":
                self.tokens.append(sent)
                return sent.startswith(f"Bearer ya29.{KEY}-token-")
            case "aws" if self.aws_signed:
                return await signed_by_us(request, sent)
        return sent == f"Bearer {KEY}"

    # --- replies ---------------------------------------------------------------------------------------------

    def _error(self, status: int, message: str, code: str = "") -> web.Response:
        headers = {"Retry-After": "3"} if status == 429 and self.name in ("groq", "openai", "azure", "cerebras") else {}
        match self.name:
            case "openrouter":
                body: object = {"error": {"code": status, "message": message}}
                # Errors after the model has begun have status 200.
                status = 200 if status in (429, 500) else status
            case "vertex":
                body = [{"error": {"code": status, "message": message, "status": "X"}}]
            case "replicate":
                body = {"title": "Error", "detail": message, "status": status}
            case "bedrock":
                body = {"error": {"message": message, "type": "throttling" if status == 429 else "error"}}
            case "sambanova" | "together" | "cerebras":
                # Their routers wrap the error: the inner status is the true one (seen with Cerebras).
                body = {"error": {"message": message, "type": "too_many_requests_error", "code": code or None}}
                status = 500 if status == 429 and self.name == "cerebras" else status
                if status == 500 and code == "":
                    body = {"error": {"message": message, "code": 429 if "Too many" in message else 500}}
            case _:
                body = {"error": {"message": message, "type": "error", "code": code or None}}
        return web.json_response(body, status=status, headers=headers)

    def _chunk(self, delta: Mapping[str, Any] | None, finish: str | None = None) -> bytes:
        return _event({"id": "r-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _before(self) -> Iterable[bytes]:
        match self.name:
            case "azure":
                yield _event({"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
                yield self._chunk({"role": "assistant", "content": None, "refusal": None})
                yield self._chunk(None)
            case "openrouter":
                yield b": OPENROUTER PROCESSING\n\n" * 3
                yield self._chunk({"role": "assistant", "content": ""})
            case _:
                yield self._chunk({"role": "assistant", "content": ""})

    def _after(self) -> Iterable[bytes]:
        usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
        times = {"queue_time": 0.001, "prompt_time": 0.002, "completion_time": 0.003}
        finish = "tool_calls" if self.say.tool else "stop"
        match self.name:
            case "cerebras":
                yield self._chunk({}, finish)
                yield _event({"id": "r-1", "choices": [], "usage": usage, "time_info": {**times, "created": 1.7e9}})
            case "groq":
                choice = {"index": 0, "delta": {}, "finish_reason": finish}
                yield _event({"id": "r-1", "choices": [choice], "x_groq": {"id": "q", "usage": {**usage, **times}}})
            case "llama.cpp":
                yield self._chunk({}, finish)
                timings = {"prompt_ms": 2.0, "predicted_ms": 3.0}
                yield _event({"id": "r-1", "choices": [], "usage": usage, "timings": timings})
            case "fireworks" | "together" | "vertex":
                choice = {"index": 0, "delta": {}, "finish_reason": finish}
                yield _event({"id": "r-1", "choices": [choice], "usage": usage})
            case "openrouter":
                yield self._chunk({"content": ""}, finish)
                yield _event({"id": "r-1", "choices": [{"index": 0, "delta": {"content": ""}}], "usage": usage})
            case _:
                yield self._chunk({}, finish)
                yield _event({"id": "r-1", "choices": [], "usage": usage})
        if self.say.done:
            yield b"data: [DONE]\n\n"

    def _pieces(self) -> Iterable[bytes]:
        say = self.say
        yield from self._before()
        for at, word in enumerate(say.words):
            yield self._chunk({"content": word})
            if at == 0 and say.fail in ("truncated", "hang"):
                return
            if at == 0 and say.fail == "mid":
                code = 429 if self.name == "openrouter" else "server_error"
                yield _event(
                    {"id": "r-1", "error": {"code": code, "message": f"broke with {self.echo}"}, "choices": []}
                )
                return
        if say.tool is not None:
            name, fragments = say.tool
            start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
            yield self._chunk({"content": None, "tool_calls": [start]})
            for text in fragments:
                yield self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})
        yield from self._after()

    def _predicted(self) -> Iterable[bytes]:
        """Replicate's event stream: text, with line breaks as several data lines."""
        for at, word in enumerate(self.say.words):
            lines = "".join(f"data: {line}\n" for line in word.split("\n"))
            yield f"event: output\nid: {at}:0\n{lines}\n".encode()
            if at == 0 and self.say.fail in ("truncated", "hang"):
                return
            if at == 0 and self.say.fail == "mid":
                yield b"event: error\ndata: " + json.dumps({"detail": f"broke with {self.echo}"}).encode() + b"\n\n"
                return
        yield b"event: done\ndata: {}\n\n"

    async def _send(self, request: web.Request, pieces: Iterable[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **self.extra_headers})
        await response.prepare(request)
        if self.say.cut:
            whole = b"".join(pieces)
            pieces = [whole[at : at + self.say.cut] for at in range(0, len(whole), self.say.cut)]
        try:
            for piece in pieces:
                await response.write(piece)
                await asyncio.sleep(0)
            if self.say.fail == "hang":
                await asyncio.Event().wait()
        except (asyncio.CancelledError, ConnectionResetError):
            self.gone.set()
            raise
        return response

    # --- HTTP handlers ------------------------------------------------------------------------------------------------

    async def _body(self, request: web.Request) -> dict[str, Any]:
        raw = await request.read()
        encoding = request.headers.get("Content-Encoding", "")
        self.encodings.append(encoding)
        if raw[:2] == b"\x1f\x8b":  # aiohttp has not undone it
            raw = gzip.decompress(raw)
        found: dict[str, Any] = json.loads(raw)
        self.bodies.append(found)
        return found

    def _refusal(self, body: Mapping[str, Any]) -> web.Response | None:
        never = [*self.row.refuses, *(["max_completion_tokens"] if self.row.max_tokens_field == "max_tokens" else [])]
        if self.refuse_once in body:
            never.append(self.refuse_once)
        bad = next((name for name in never if name in body), None)
        if self.name == "groq" and any("name" in message for message in body.get("messages", [])):
            bad = "messages.name"
        return self._error(400, f"property '{bad}' is unsupported") if bad else None

    def _failing(self) -> web.Response | None:
        if self.say.fail == "429":
            return self._error(429, f"Too many requests for {self.echo}")
        return self._error(500, f"Something broke at {self.echo}") if self.say.fail == "500" else None

    async def chat(self, request: web.Request) -> web.StreamResponse:
        if not await self._allowed(request):
            return self._error(401, f"wrong key {request.headers.get('Authorization')}")
        body = await self._body(request)
        if self.no_gzip and self.encodings[-1]:
            return self._error(415, "no such encoding here")
        return self._refusal(body) or self._failing() or await self._send(request, self._pieces())

    async def models(self, request: web.Request) -> web.StreamResponse:
        if not await self._allowed(request):
            return self._error(401, "wrong key")
        if self.name in ("vertex", "replicate"):
            return self._error(404, "not here")
        rows = [{"id": "llama-3.3-70b", "object": "model"}, {"id": "llama3.1-8b", "object": "model"}]
        return web.json_response(rows if self.name == "together" else {"object": "list", "data": rows})

    async def predict(self, request: web.Request) -> web.StreamResponse:
        if not await self._allowed(request):
            return self._error(401, "You did not pass a valid authentication token")
        await self._body(request)
        if (failed := self._failing()) is not None:
            return failed
        root = str(request.url.origin())
        urls = {"stream": f"{root}/stream/p1", "cancel": f"{root}/v1/predictions/p1/cancel"}
        return web.json_response({"id": "p1", "status": "starting", "urls": urls}, status=201)

    async def predicted(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept"] == "text/event-stream"
        return await self._send(request, self._predicted())

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        assert request.match_info["id"] == "p1"
        self.cancelled.set()
        return web.json_response({"status": "canceled"})

    async def serving(self) -> AsyncIterator[Service]:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/models/{owner}/{name}/predictions", self.predict)
        app.router.add_get("/stream/p1", self.predicted)
        app.router.add_post("/v1/predictions/{id}/cancel", self.cancel)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()


def _event(body: object) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"
