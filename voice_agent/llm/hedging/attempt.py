"""One of the requests for the same answer, and its trace (:mod:`.race`)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import llm

from ...trace import GenerationTrace
from ..client import ChatLLM


@dataclass(slots=True)
class AttemptTrace(GenerationTrace):
    """The trace of one attempt. Only the attempt whose answer is used writes to ``outer``, the ledger's trace."""

    outer: GenerationTrace | None = None
    taken: bool = False

    def mark(self, name: str, at: float | None = None) -> None:
        at = self.clock.now() if at is None else at
        self.marks.setdefault(name, at)
        if self.outer is not None and (self.taken or name == "llm_requested"):  # the wait begins with the first request
            self.outer.mark(name, at)

    def fact(self, **facts: Any) -> None:
        self.facts.update(facts)
        if self.outer is not None and self.taken:
            self.outer.fact(**facts)

    def take(self) -> None:
        """This attempt's answer is used: copy its marks and facts to ``outer``."""
        self.taken = True
        if self.outer is not None:
            for name, at in self.marks.items():
                self.outer.mark(name, at)
            self.outer.fact(**self.facts)


@dataclass(slots=True)
class Attempt:
    """One running request. ``held``: its chunks up to the first with content or a tool call."""

    model: ChatLLM
    stream: llm.LLMStream
    trace: AttemptTrace
    started: float
    held: list[llm.ChatChunk] = field(default_factory=list)
    reading: asyncio.Task[None] | None = None
    failed: bool = False
    closed: bool = False

    async def first(self) -> None:
        """Read the stream up to its first content or tool call, into :attr:`held`."""
        async for chunk in self.stream:
            self.held.append(chunk)
            if chunk.has_response():
                return

    @property
    def requested(self) -> float:
        return self.trace.marks.get("llm_requested", self.started)
