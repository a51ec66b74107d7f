"""Parses a chat-completions stream: raw chunks in, speakable text and complete tool calls out. Pure.

Chunks are the JSON objects as received (``dict``), not the ``openai`` package's classes: building those took 110 µs a
chunk when measured, and a fast provider sends 2,000 chunks a second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import utils
from livekit.agents.llm import CompletionUsage, FunctionToolCall
from livekit.agents.llm.utils import ThinkingTokenFilter, strip_thinking_tokens


@dataclass(slots=True)
class _ToolCall:
    id: str
    name: str = ""
    arguments: str = ""
    extra: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChunkContent:
    """The content of one chunk. ``content``: text to speak; ``started``: an answer or a tool call has begun."""

    content: str = ""
    tool_calls: tuple[FunctionToolCall, ...] = ()
    started: bool = False


_CLOSE = "</think>"


@dataclass(slots=True)
class _StrayClose:
    """Drops a ``</think>`` without an opening tag, and the text before it.

    Some templates open the tag in the prompt, so the answer begins with reasoning. ``held``: this is expected, and text
    is kept back until the tag. Otherwise text is passed on at once, and only text not yet passed on can be dropped.
    """

    held: bool = False
    _rest: str = ""

    def feed(self, text: str, *, final: bool) -> str:
        self._rest += text
        while (at := self._rest.find(_CLOSE)) >= 0:
            self._rest, self.held = self._rest[at + len(_CLOSE) :], False
        if final:
            self.held = False
        keep = len(self._rest) if self.held else 0
        if not self.held and not final:
            keep = next((n for n in range(len(_CLOSE) - 1, 0, -1) if self._rest.endswith(_CLOSE[:n])), 0)
        out, self._rest = self._rest[: len(self._rest) - keep], self._rest[len(self._rest) - keep :]
        return out


@dataclass(slots=True)
class DeltaReader:
    """The state of one stream. ``finish_reason``: None until the model has finished.

    ``opens_thinking``: the model's template opens ``<think>``, so text before the closing tag is reasoning. It is
    passed on if the stream ends without the tag, or if the server separates the reasoning itself.
    """

    opens_thinking: bool = False

    finish_reason: str | None = None
    spoken: bool = False
    received_chars: int = 0
    received_chunks: int = 0
    _thinking: ThinkingTokenFilter = field(default_factory=ThinkingTokenFilter)
    _close: _StrayClose = field(default_factory=_StrayClose)
    _head: str = ""
    _calls: list[tuple[object, _ToolCall]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._close.held = self.opens_thinking

    def feed(self, chunk: Mapping[str, Any]) -> ChunkContent:
        """Read one chunk. Reasoning, in its own field or between ``<think>`` tags, is dropped.

        Raises ValueError, TypeError or AttributeError for a chunk of another shape.
        """
        choices = chunk.get("choices") or ()
        if not choices:
            return ChunkContent()  # usage and timings have no choices; Azure also sends such a chunk first
        choice = choices[0]
        delta: Mapping[str, Any] = choice.get("delta") or {}
        done = choice.get("finish_reason")
        raw, reasoning = delta.get("content"), delta.get("reasoning_content") or delta.get("reasoning")
        self._count(raw, reasoning)
        text = strip_thinking_tokens(raw, self._thinking, final=done is not None) or ""
        if self._close.held:
            self._head = (self._head + raw).lstrip()[:16] if isinstance(raw, str) else self._head
            # The tag is in the text, or reasoning has its own field: no text is kept back.
            self._close.held = not (reasoning or self._head.startswith("<think>"))
        text = self._close.feed(text, final=done is not None)
        if not self.spoken:
            text = text.lstrip()  # a blank line after the reasoning is not content
            self.spoken = bool(text)
        for fragment in delta.get("tool_calls") or ():
            self._add(fragment)
        calls: tuple[FunctionToolCall, ...] = ()
        if done is not None:
            self.finish_reason = str(done)
            calls = self._take_calls()
        return ChunkContent(text, calls, bool(text or calls or self._calls))

    @property
    def truncated_call(self) -> bool:
        """Whether the token limit cut off a tool call, so that its arguments cannot be parsed."""
        if self.finish_reason != "length":
            return False
        try:
            for _, call in self._calls:
                json.loads(call.arguments or "{}")
        except json.JSONDecodeError:
            return True
        return False

    @property
    def estimated_tokens(self) -> int:
        """Estimated completion tokens, for streams without usage: at least one a chunk, one for 4 characters."""
        return max(self.received_chunks, -(-self.received_chars // 4))

    def _count(self, *texts: object) -> None:
        letters = sum(len(text) for text in texts if isinstance(text, str))
        if letters:
            self.received_chunks += 1
            self.received_chars += letters

    def _add(self, fragment: Mapping[str, Any]) -> None:
        function: Mapping[str, Any] = fragment.get("function") or {}
        index, call_id = fragment.get("index", 0), fragment.get("id")
        call = next((one for at, one in reversed(self._calls) if at == index), None)
        # Some servers give every parallel call the index 0 and distinguish them by id only.
        if call is None or (call_id and call.id != call_id and call.name and function.get("name")):
            call = _ToolCall(call_id or utils.shortuuid("call_"))
            self._calls.append((index, call))
        if name := function.get("name"):
            call.name = name
        arguments = function.get("arguments")
        if arguments:
            call.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments)
        if extra := fragment.get("extra_content"):
            call.extra = extra
        self._count(arguments)

    def _take_calls(self) -> tuple[FunctionToolCall, ...]:
        if self.truncated_call:
            return ()  # the calls are kept for truncated_call
        calls, self._calls = self._calls, []
        return tuple(
            FunctionToolCall(name=call.name, arguments=call.arguments or "{}", call_id=call.id, extra=call.extra)
            for _, call in calls
            if call.name
        )


def usage_of(chunk: Mapping[str, Any]) -> CompletionUsage | None:
    """The token counts of a chunk (``usage``, or Groq's ``x_groq.usage``); None without them."""
    usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
    if not isinstance(usage, Mapping) or "completion_tokens" not in usage:
        return None
    prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    return CompletionUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=int(usage.get("total_tokens") or prompt + completion),
        prompt_cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
        reasoning_tokens=int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0),
    )


def timings_of(chunk: Mapping[str, Any]) -> dict[str, float]:
    """The provider's own ``queue_ms``, ``prompt_ms`` and ``completion_ms``, if the chunk has them.

    Cerebras: ``time_info`` in seconds. Groq: in its usage, in seconds. llama.cpp: ``timings`` in milliseconds.
    """
    groq = (chunk.get("x_groq") or {}).get("usage") or {}
    found: dict[str, float] = {}
    for source in (chunk.get("usage") or {}, groq, chunk.get("time_info") or {}):
        for name in ("queue", "prompt", "completion"):
            if isinstance(value := source.get(f"{name}_time"), int | float):
                found[f"{name}_ms"] = round(value * 1000, 3)
    llama = chunk.get("timings") or {}
    for theirs, ours in (("prompt_ms", "prompt_ms"), ("predicted_ms", "completion_ms")):
        if isinstance(value := llama.get(theirs), int | float):
            found[ours] = round(float(value), 3)
    return found
