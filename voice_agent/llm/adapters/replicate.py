"""A transport that translates chat completions into Replicate's predictions.

``POST /models/{owner}/{name}/predictions`` with ``stream`` creates a prediction, whose ``urls.stream`` is read as
server-sent events: ``output`` (text), ``error``, ``done`` (with a reason if it failed). Documented at
replicate.com/docs/streaming (read 2026-11). If the client closes the stream early, the prediction is cancelled; it
would run on and cost otherwise. The API has no tools. Token counts are in the finished prediction only and are not
fetched, since that would be a third request a turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from ...livekit_compat.httpx_pool import WrappingTransport

_ROLES = {"system": "", "user": "User: ", "assistant": "Assistant: ", "tool": "Tool: "}


def prediction_input(body: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a Llama instruct model: ``prompt``, ``system_prompt``, ``max_tokens`` and ``temperature``."""
    said = [(str(m.get("role")), _text(m.get("content"))) for m in body.get("messages", [])]
    system = "\n".join(text for role, text in said if role in ("system", "developer"))
    rest = [(role, text) for role, text in said if role not in ("system", "developer") and text]
    if len(rest) == 1:
        prompt = rest[0][1]
    else:
        prompt = "\n".join(f"{_ROLES.get(role, '')}{text}" for role, text in rest) + "\nAssistant:"
    found: dict[str, Any] = {"prompt": prompt}
    if system:
        found["system_prompt"] = system
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    if limit is not None:
        found["max_tokens"] = limit
    if body.get("temperature") is not None:
        found["temperature"] = body["temperature"]
    return found


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping)).strip()


class EventReader:
    """Parses a server-sent event stream: bytes in, ``(event, data)`` out. Pieces may end inside a character or a
    line."""

    def __init__(self) -> None:
        self._rest = b""
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[tuple[str, str]]:
        """The events that are complete now. Raises UnicodeDecodeError if a line is not UTF-8."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        found = []
        for line in lines:
            text = line.removesuffix(b"\r").decode()
            if not text:
                if self._data or self._event:
                    found.append((self._event or "message", "\n".join(self._data)))
                self._event, self._data = "", []
                continue
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                self._event = value
            elif name == "data":
                self._data.append(value)
        return found


class ReplicateTransport(WrappingTransport):
    """Answers ``/chat/completions`` with a prediction; passes on every other request unchanged."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        super().__init__(inner)
        self._cancelling: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if not request.url.path.endswith("/chat/completions"):
            return await self.inner.handle_async_request(request)
        body = json.loads(await request.aread())
        base = str(request.url).removesuffix("/chat/completions")
        if body.get("tools"):
            message = "Replicate's predictions take no tools; use another provider for an agent with tools"
            return _json(request, 400, {"error": {"message": message}})
        made = httpx2.Request(
            "POST",
            f"{base}/models/{body['model']}/predictions",
            headers=_auth(request),
            json={"stream": True, "input": prediction_input(body)},
            extensions=request.extensions,
        )
        answer = await self.inner.handle_async_request(made)
        answer.request = made
        raw = await answer.aread()
        await answer.aclose()
        if answer.status_code >= 400:
            headers = {k: v for k, v in answer.headers.items() if k in ("retry-after", "content-type")}
            return httpx2.Response(answer.status_code, headers=headers, content=raw, request=request)
        prediction = json.loads(raw)
        urls: Mapping[str, str] = prediction.get("urls") or {}
        if "stream" not in urls:
            return _json(request, 400, {"error": {"message": f"the model {body['model']!r} does not stream"}})
        if not _same_site(urls["stream"], str(request.url)):
            # The key must not be sent to another host.
            return _json(request, 502, {"error": {"message": "the stream's address is not the provider's"}})
        opened = httpx2.Request(
            "GET",
            urls["stream"],
            headers={**_auth(request), "Accept": "text/event-stream", "Cache-Control": "no-store"},
            extensions=request.extensions,
        )
        events = await self.inner.handle_async_request(opened)
        events.request = opened
        if events.status_code >= 400:
            raw = await events.aread()
            await events.aclose()
            return httpx2.Response(events.status_code, content=raw, request=request)
        stream = _Translated(self, events, str(prediction.get("id", "")), urls.get("cancel"), _auth(request))
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=stream, request=request)

    def cancel(self, url: str, headers: Mapping[str, str]) -> None:
        """Cancel the prediction in the background."""
        task = asyncio.create_task(self._cancel(url, headers), name="replicate.cancel")
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, url: str, headers: Mapping[str, str]) -> None:
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), 5.0)}
        with contextlib.suppress(httpx2.HTTPError, OSError):
            request = httpx2.Request("POST", url, headers=headers, extensions=limits)
            answer = await self.inner.handle_async_request(request)
            await answer.aread()
            await answer.aclose()

    async def aclose(self) -> None:
        await asyncio.gather(*self._cancelling, return_exceptions=True)
        await self.inner.aclose()


def _auth(request: httpx2.Request) -> dict[str, str]:
    return {"Authorization": request.headers["Authorization"]} if "Authorization" in request.headers else {}


def _json(request: httpx2.Request, status: int, body: object) -> httpx2.Response:
    return httpx2.Response(status, json=body, request=request)


class _Translated(httpx2.AsyncByteStream):
    """The events of a prediction as chunks of chat completions."""

    def __init__(
        self,
        transport: ReplicateTransport,
        events: httpx2.Response,
        number: str,
        cancel_url: str | None,
        headers: Mapping[str, str],
    ) -> None:
        self._transport = transport
        self._events = events
        self._id = number
        self._cancel_url = cancel_url
        self._headers = headers
        self._done = False

    def _chunk(self, content: str | None = None, finish: str | None = None) -> bytes:
        delta = {} if content is None else {"content": content}
        body = {"id": self._id, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reader = EventReader()
        async for piece in self._events.aiter_raw():
            for event, data in reader.feed(piece):
                if event == "output":
                    yield self._chunk(data)
                elif event == "error":
                    self._done = True
                    yield b"data: " + json.dumps({"error": {"message": _said(data)}}).encode() + b"\n\n"
                    return
                elif event == "done":
                    self._done = True
                    reason = _reason(data)
                    if reason in ("error", "canceled"):
                        yield b'data: {"error": {"message": "the prediction ended: ' + reason.encode() + b'"}}\n\n'
                    else:
                        yield self._chunk(finish="stop") + b"data: [DONE]\n\n"
                    return

    async def aclose(self) -> None:
        await self._events.aclose()
        if not self._done and self._cancel_url is not None:
            self._done = True
            if _same_site(self._cancel_url, str(self._events.request.url)):
                self._transport.cancel(self._cancel_url, self._headers)


def _same_site(one: str, other: str) -> bool:
    return httpx2.URL(one).host.split(".")[-2:] == httpx2.URL(other).host.split(".")[-2:]


def _said(data: str) -> str:
    with contextlib.suppress(json.JSONDecodeError):
        body = json.loads(data)
        if isinstance(body, Mapping):
            return str(body.get("detail") or body.get("message") or "the prediction failed")
    return data


def _reason(data: str) -> str:
    with contextlib.suppress(json.JSONDecodeError):
        body = json.loads(data)
        if isinstance(body, Mapping):
            return str(body.get("reason") or "")
    return ""
