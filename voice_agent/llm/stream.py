"""One answer: the request is sent, its stream read under our deadlines, and every way it can end accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import httpx2
import openai
from livekit.agents import llm
from livekit.agents.types import APIConnectOptions

from .. import trace as probe
from ..errors import ProviderError, ProviderStreamError
from ..livekit_compat.streams import LlmStream
from . import failures
from .choice import opens_thinking
from .deltas import DeltaReader, timings_of, usage_of

if TYPE_CHECKING:
    from .client import ChatLLM

# What may go wrong outside of our own code; anything else is a mistake of ours and is raised as it is.
_FAILURES = (
    ProviderError,
    openai.OpenAIError,
    httpx2.HTTPError,
    OSError,
    json.JSONDecodeError,
    UnicodeDecodeError,
)

Which = Literal["first_content", "stall", "total"]


@dataclass(frozen=True, slots=True)
class RequestDeadlines:
    """How long an answer may take, in seconds: the connection, the first content, a gap after it, and all of it."""

    connect_s: float = 3.0
    first_content_s: float = 4.0
    stall_s: float = 5.0
    total_s: float = 30.0

    def next(self, now: float, started: float, last: float, spoken: bool) -> tuple[float, Which]:
        """Seconds that remain at ``now`` until the next deadline (0 or less: it has passed), and which it is.

        ``started``: when the request was sent; ``last``: when the last chunk came; ``spoken``: content has begun.
        """
        total = started + self.total_s - now
        near: tuple[float, Which] = (
            (last + self.stall_s - now, "stall") if spoken else (started + self.first_content_s - now, "first_content")
        )
        return near if near[0] <= total else (total, "total")


class ChatStream(LlmStream):
    """One answer, as LiveKit reads it. Closing it closes the request: the server sees the connection end.

    ``aside``: it is no turn's (a summary): the meter counts it, the client's counters do not.
    """

    def __init__(
        self,
        owner: ChatLLM,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        extra: dict[str, Any],
        aside: bool = False,
    ) -> None:
        self._owner = owner
        self._aside = aside
        self._extra = extra
        self._reader = DeltaReader()
        self._started = self._last = 0.0
        self._begun = False
        self._request_id = ""
        self._usage: llm.CompletionUsage | None = None
        self._asked = False
        self._prompt_tokens = 0
        self._limits = dataclasses.replace(
            owner.deadlines, first_content_s=min(owner.deadlines.first_content_s, conn_options.timeout or float("inf"))
        )
        super().__init__(
            owner, chat_ctx=chat_ctx, tools=tools, conn_options=dataclasses.replace(conn_options, max_retry=0)
        )

    async def _run(self) -> None:
        owner = self._owner
        try:
            await owner.choose()
            await self._answer()
        except asyncio.CancelledError:
            self._ended("cancelled")
            probe.fact(cancelled=True)
            raise
        except _FAILURES as error:
            self._ended("failed")
            raise failures.explain(error, owner.asked(), self._limits.connect_s) from None
        else:
            self._count(completed=1)
            if not self._aside:
                owner.tidy(self.chat_ctx)

    def _count(self, **more: int) -> None:
        if not self._aside:
            self._owner.count(**more)

    def _ended(self, how: Literal["cancelled", "failed"]) -> None:
        """Account for an answer that did not end by itself, and replace the connection that went with it."""
        self._count(**{how: 1})
        if self._usage is None:
            self._count(tokens_estimated=self._reader.estimated_tokens)
            probe.fact(completion_tokens_estimated=self._reader.estimated_tokens)
            if self._asked:
                self._owner.metered(
                    prompt_tokens=self._prompt_tokens if self._reader.received_chunks else 0,
                    estimated_tokens=self._reader.estimated_tokens,
                )
        self._report_usage()
        self._owner.pool.replace_soon()

    async def _answer(self) -> None:
        owner = self._owner
        self._reader = DeltaReader(opens_thinking=opens_thinking(owner.model))
        view = self.chat_ctx if self._aside else owner.window.view(self.chat_ctx)
        messages, _ = view.to_provider_format(format="openai")
        tools = llm.ToolContext(self.tools).parse_function_tools("openai", strict=owner.endpoint.provider.strict_tools)
        probe.fact(provider=owner.provider, model=owner.model, simulated=owner.endpoint.simulated)
        self._started = self._last = owner.clock.now()
        stream = await self._open(cast("list[dict[str, Any]]", messages), tools)
        async with contextlib.aclosing(self._chunks(stream)) as chunks:
            async for chunk in chunks:
                self._take(chunk)
        self._judge_end()
        self._report_usage()
        if self._usage is None:  # Replicate's streams carry no counts
            owner.metered(prompt_tokens=self._prompt_tokens, estimated_tokens=self._reader.estimated_tokens)

    def _report_usage(self) -> None:
        """Some servers send running counts with each chunk: the last one stands."""
        if (usage := self._usage) is not None:
            self._count(tokens_received=usage.completion_tokens)
            probe.fact(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
            if usage.prompt_cached_tokens:
                probe.fact(prompt_cached_tokens=usage.prompt_cached_tokens)
            self._owner.metered(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
            self.emit(llm.ChatChunk(id=self._request_id, usage=usage))

    async def _open(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> openai.AsyncStream[object]:
        """Send the request; returns when the answer begins. See the module for when it is sent again."""
        owner, hung_up = self._owner, False
        while True:
            body = owner.body(messages, tools, self._extra)
            content, headers = owner.encode(body)
            self._prompt_tokens = sum(len(str(message.get("content") or "")) for message in messages) // 4
            owner.admit()
            self._count(requests=1)
            owner.metered(requests=1)
            self._asked = True
            probe.mark("llm_requested")
            try:
                async with self._deadline():
                    stream = await owner.client.post(
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
                owner.said(stream.response.headers)
                return stream
            except openai.APIStatusError as error:
                owner.said(error.response.headers)
                if not owner.refuse(error, body, compressed="Content-Encoding" in headers):
                    raise
            except openai.APIConnectionError as error:
                # The server closed the idle connection at the very moment we used it.
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
                self._last = self._owner.clock.now()
                if not isinstance(chunk, Mapping):
                    raise failures.not_understood(self._owner.asked())
                yield chunk
        finally:
            await stream.close()

    def _whole(self, raw: bytes) -> Mapping[str, Any]:
        """An answer that is no stream: an error under status 200, or a server that does not stream."""
        body = json.loads(raw)
        if isinstance(body, Mapping) and isinstance(body.get("choices"), list) and body["choices"]:
            choice = {"delta": body["choices"][0].get("message"), "finish_reason": "stop", **body["choices"][0]}
            return {**body, "choices": [choice]}
        if isinstance(body, Mapping) and body.get("error"):
            raise failures.from_status(200, body, self._owner.asked())
        raise failures.not_understood(self._owner.asked())

    def _take(self, chunk: Mapping[str, Any]) -> None:
        try:
            piece = self._reader.feed(chunk)
            usage, timings = usage_of(chunk), timings_of(chunk)
        except (ValueError, TypeError, AttributeError, LookupError):
            raise failures.not_understood(self._owner.asked()) from None
        if piece.content:
            probe.mark("llm_first_content")
        if not self._request_id and chunk.get("id"):
            self._request_id = str(chunk["id"])
            probe.fact(request_id=self._request_id)
        if piece.content or piece.tool_calls:
            self._send(piece.content, list(piece.tool_calls))
        self._begun = self._begun or piece.started
        self._usage = usage or self._usage
        if timings:
            probe.fact(**timings)

    def _send(self, content: str, calls: list[llm.FunctionToolCall]) -> None:
        delta = llm.ChoiceDelta(role="assistant", content=content or None, tool_calls=calls)
        self.emit(llm.ChatChunk(id=self._request_id, delta=delta))

    @contextlib.asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        """Bound one wait by what remains of our deadlines. Raises DeadlineError."""
        remaining_s, which = self._limits.next(self._owner.clock.now(), self._started, self._last, self._begun)
        try:
            async with asyncio.timeout(max(0.0, remaining_s)):
                yield
        except TimeoutError:
            what, limit_s, setting = {
                "first_content": ("first word", self._limits.first_content_s, "llm.first_content_timeout_s"),
                "stall": ("further word", self._limits.stall_s, "llm.stall_timeout_s"),
                "total": ("complete answer", self._limits.total_s, "llm.total_timeout_s"),
            }[which]
            raise failures.late(what, limit_s, setting, self._owner.asked()) from None

    def _judge_end(self) -> None:
        """Raise if the stream ended without an answer that can be spoken or done."""
        reader, who = self._reader, self._owner.provider
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
