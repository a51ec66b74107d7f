"""One answer: the request is sent, its stream read under the deadlines, and each way in which it can end is counted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Literal, Protocol, cast

import httpx2
import openai
from livekit.agents import llm
from livekit.agents.types import APIConnectOptions

from .. import trace
from ..errors import ProviderError, ProviderStreamError
from ..livekit_compat.streams import LlmStream
from . import failures
from .choice import opens_thinking
from .deltas import DeltaReader, timings_of, usage_of
from .provider_connection import ProviderConnection

# Failures from outside our code. Any other exception is a fault of ours and is raised unchanged.
_FAILURES = (
    ProviderError,
    openai.OpenAIError,
    httpx2.HTTPError,
    OSError,
    json.JSONDecodeError,
    UnicodeDecodeError,
)


class Memory(Protocol):
    """The conversation that a stream belongs to: what is sent of it, and a call after each answer."""

    def view(self, ctx: llm.ChatContext) -> llm.ChatContext: ...

    def answered(self, ctx: llm.ChatContext) -> None: ...


class ChatStream(LlmStream):
    """One answer, as LiveKit reads it. Closing it closes the request: the server sees the connection end.

    ``memory``: the conversation that the request belongs to. None: the request belongs to no turn (a summary, a trial);
    ``chat_ctx`` is sent whole, and the request is counted against the quota but not in the client's counters.
    """

    def __init__(
        self,
        owner: llm.LLM[Any],
        connection: ProviderConnection,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        extra: dict[str, Any],
        memory: Memory | None = None,
    ) -> None:
        self._connection = connection
        self._memory = memory
        self._extra = extra
        self._reader = DeltaReader()
        self._started = self._last = 0.0
        self._begun = False
        self._request_id = ""
        self._usage: llm.CompletionUsage | None = None
        self._asked = False
        self._prompt_tokens = 0
        limits = connection.deadlines
        first_content_s = min(limits.first_content_s, conn_options.timeout or float("inf"))
        self._limits = dataclasses.replace(limits, first_content_s=first_content_s)
        super().__init__(
            owner, chat_ctx=chat_ctx, tools=tools, conn_options=dataclasses.replace(conn_options, max_retry=0)
        )

    async def _run(self) -> None:
        connection = self._connection
        try:
            await connection.choose()
            await self._answer()
        except asyncio.CancelledError:
            self._ended("cancelled")
            trace.fact(cancelled=True)
            raise
        except _FAILURES as error:
            self._ended("failed")
            raise failures.explain(error, connection.target(), self._limits.connect_s) from None
        else:
            self._count(completed=1)
            if self._memory is not None:
                self._memory.answered(self.chat_ctx)

    def _count(self, **more: int) -> None:
        if self._memory is not None:
            self._connection.count(**more)

    def _meter(self, **counts: int) -> None:
        self._connection.account.used(self._connection.model, **counts)

    def _ended(self, how: Literal["cancelled", "failed"]) -> None:
        """Count an answer that was cancelled or failed, and replace the connection that it has closed."""
        self._count(**{how: 1})
        if self._usage is None:
            self._count(tokens_estimated=self._reader.estimated_tokens)
            trace.fact(completion_tokens_estimated=self._reader.estimated_tokens)
            if self._asked:
                self._meter(
                    prompt_tokens=self._prompt_tokens if self._reader.received_chunks else 0,
                    estimated_tokens=self._reader.estimated_tokens,
                )
        self._report_usage()
        self._connection.pool.replace_soon()

    async def _answer(self) -> None:
        connection = self._connection
        self._reader = DeltaReader(opens_thinking=opens_thinking(connection.model))
        view = self.chat_ctx if self._memory is None else self._memory.view(self.chat_ctx)
        messages, _ = view.to_provider_format(format="openai")
        endpoint = connection.endpoint
        tools = llm.ToolContext(self.tools).parse_function_tools("openai", strict=endpoint.provider.strict_tools)
        trace.fact(provider=connection.provider, model=connection.model, simulated=endpoint.simulated)
        self._started = self._last = connection.clock.now()
        stream = await self._open(cast("list[dict[str, Any]]", messages), tools)
        async with contextlib.aclosing(self._chunks(stream)) as chunks:
            async for chunk in chunks:
                self._take(chunk)
        self._check_end()
        self._report_usage()
        if self._usage is None:  # Replicate's streams have no counts
            self._meter(prompt_tokens=self._prompt_tokens, estimated_tokens=self._reader.estimated_tokens)

    def _report_usage(self) -> None:
        """Report the last usage of the stream: some servers send running counts with each chunk."""
        if (usage := self._usage) is not None:
            self._count(tokens_received=usage.completion_tokens)
            trace.fact(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
            if usage.prompt_cached_tokens:
                trace.fact(prompt_cached_tokens=usage.prompt_cached_tokens)
            self._meter(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
            self.emit(llm.ChatChunk(id=self._request_id, usage=usage))

    async def _open(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> openai.AsyncStream[object]:
        """Send the request; returns when the answer begins. :mod:`.client` says when it is sent once more."""
        connection, hung_up = self._connection, False
        while True:
            body = connection.requests.body(connection.model, messages, tools, self._extra)
            content, headers = connection.requests.encode(body)
            self._prompt_tokens = sum(len(str(message.get("content") or "")) for message in messages) // 4
            connection.account.admit()
            self._count(requests=1)
            self._meter(requests=1)
            self._asked = True
            trace.mark("llm_requested")
            try:
                async with self._deadline():
                    stream = await connection.client.post(
                        "/chat/completions",
                        cast_to=object,
                        content=content,
                        options={
                            "timeout": httpx2.Timeout(None, connect=self._limits.connect_s),
                            "headers": headers,
                        },
                        stream=True,
                        stream_cls=openai.AsyncStream[object],
                    )
                connection.account.read_headers(stream.response.headers)
                return stream
            except openai.APIStatusError as error:
                connection.account.read_headers(error.response.headers)
                if not connection.requests.refuse(error, body, compressed="Content-Encoding" in headers):
                    raise
            except openai.APIConnectionError as error:
                # The server closed the idle connection at the moment of its use.
                lost = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)
                if hung_up or not isinstance(error.__cause__, lost):
                    raise
                hung_up = True

    async def _chunks(self, stream: openai.AsyncStream[object]) -> AsyncGenerator[Mapping[str, Any], None]:
        kind = stream.response.headers.get("content-type", "")
        try:
            if "json" in kind or "html" in kind:
                async with self._deadline():
                    raw = await stream.response.aread()
                yield self._whole(raw)
                return
            while True:
                async with self._deadline():
                    chunk = await anext(stream, None)
                if chunk is None:
                    return
                self._last = self._connection.clock.now()
                if not isinstance(chunk, Mapping):
                    raise failures.not_understood(self._connection.target())
                yield chunk
        finally:
            await stream.close()

    def _whole(self, raw: bytes) -> Mapping[str, Any]:
        """The one chunk of an answer that is no stream; raises ProviderError for an error under status 200."""
        body = json.loads(raw)
        if isinstance(body, Mapping) and isinstance(body.get("choices"), list) and body["choices"]:
            choice = {"delta": body["choices"][0].get("message"), "finish_reason": "stop", **body["choices"][0]}
            return {**body, "choices": [choice]}
        if isinstance(body, Mapping) and body.get("error"):
            raise failures.from_status(200, body, self._connection.target())
        raise failures.not_understood(self._connection.target())

    def _take(self, chunk: Mapping[str, Any]) -> None:
        try:
            piece = self._reader.feed(chunk)
            usage, timings = usage_of(chunk), timings_of(chunk)
        except (ValueError, TypeError, AttributeError, LookupError):
            raise failures.not_understood(self._connection.target()) from None
        if piece.content:
            trace.mark("llm_first_content")
        if not self._request_id and chunk.get("id"):
            self._request_id = str(chunk["id"])
            trace.fact(request_id=self._request_id)
        if piece.content or piece.tool_calls:
            self._send(piece.content, list(piece.tool_calls))
        self._begun = self._begun or piece.started
        self._usage = usage or self._usage
        if timings:
            trace.fact(**timings)

    def _send(self, content: str, calls: list[llm.FunctionToolCall]) -> None:
        delta = llm.ChoiceDelta(role="assistant", content=content or None, tool_calls=calls)
        self.emit(llm.ChatChunk(id=self._request_id, delta=delta))

    @contextlib.asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        """Limit one wait to the time that remains until the next deadline. Raises DeadlineError."""
        remaining_s, which = self._limits.next(self._connection.clock.now(), self._started, self._last, self._begun)
        try:
            async with asyncio.timeout(max(0.0, remaining_s)):
                yield
        except TimeoutError:
            what, limit_s, setting = {
                "first_content": ("first word", self._limits.first_content_s, "llm.first_content_timeout_s"),
                "stall": ("further word", self._limits.stall_s, "llm.stall_timeout_s"),
                "total": ("complete answer", self._limits.total_s, "llm.total_timeout_s"),
            }[which]
            raise failures.late(what, limit_s, setting, self._connection.target()) from None

    def _check_end(self) -> None:
        """Raise ProviderStreamError if the stream ended without text to speak or a complete tool call."""
        reader, who = self._reader, self._connection.provider
        if reader.finish_reason is None:
            raise ProviderStreamError(f"{who} hung up in mid-answer; try again, or use another provider")
        if reader.truncated_call:
            raise ProviderStreamError(
                f"{who} ran out of tokens in the middle of a tool call; raise llm.max_completion_tokens"
            )
        if not self._begun and reader.finish_reason == "length":
            raise ProviderStreamError(
                f"{who} used all its tokens without a word to speak (reasoning?); raise llm.max_completion_tokens, or"
                " choose a model that does not reason"
            )
        if not self._begun and reader.finish_reason == "content_filter":
            raise ProviderStreamError(f"{who} withheld the answer (content filter); say it in other words")
