"""What a session can go on with when it is late turn after turn: another LLM first, shorter replies, a smaller Whisper.

:class:`~.degradation.Degradation` decides when (docs/budget.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..budget.path import Stage
from ..config import Config, DegradationConfig
from ..llm.hedging.hedge import HedgedLLM
from ..runtime import malloc as memory
from ..stt import FastWhisperSTT, WhisperEngine
from .model_pool import ModelPool

SMALLEST_WHISPER = "tiny.en"
SMALLEST_NEEDS_MB = 115.0
"""While it is loaded: its file (75 MB) is read whole, then made smaller; 36 of it stay (one run, beside base)."""


def never_hindered() -> str:
    return ""


@dataclass(slots=True)
class Swap:
    """One way to go on with less: ``to(True)`` does it, ``to(False)`` goes back; ``name`` is shown to the user.

    ``hindered()``: why it cannot be done now; empty if it can.
    """

    name: str
    to: Callable[[bool], Awaitable[None]]
    hindered: Callable[[], str] = never_hindered


class LlmSwaps:
    """Cheaper LLM requests: the second provider first, or fewer tokens."""

    def __init__(self, llm: HedgedLLM, short_tokens: int) -> None:
        self._llm = llm
        self._short_tokens = short_tokens

    async def second_first(self, less: bool) -> None:
        self._llm.models.second_first = less

    async def short_replies(self, less: bool) -> None:
        self._llm.models.short_tokens = self._short_tokens if less else None


class WhisperSwap:
    """The smallest Whisper, loaded when it is first needed. It takes memory.

    ``alone``: the pool belongs to this session, which then must find room for it.
    """

    def __init__(self, stt: FastWhisperSTT, pool: ModelPool, config: Config, *, alone: bool) -> None:
        self._stt = stt
        self._pool = pool
        self._language = config.stt.language
        self._config = config.degradation
        self._alone = alone
        self._usual = stt.engine
        self._smallest: WhisperEngine | None = None

    async def to(self, less: bool) -> None:
        self._stt.engine = await self._load() if less else self._usual

    async def _load(self) -> WhisperEngine:
        loop = asyncio.get_running_loop()
        self._smallest = await loop.run_in_executor(None, self._pool.engine, self._language, SMALLEST_WHISPER)
        return self._smallest

    def hindered(self) -> str:
        return room_for_whisper(self._config) if self._alone and self._smallest is None else ""


def swaps_of(
    config: Config, llm: HedgedLLM, stt: FastWhisperSTT, pool: ModelPool, *, alone: bool
) -> dict[Stage, list[Swap]]:
    """By stage, what a session can go on with less of, in the order in which it is tried."""
    out: dict[Stage, list[Swap]] = {}
    if llm.models.primary.endpoint.kind != "embedded":
        cheaper = LlmSwaps(llm, config.degradation.short_reply_tokens)
        out[Stage.LLM] = [Swap("short replies", cheaper.short_replies)]
        if llm.models.second is not None:
            out[Stage.LLM].insert(0, Swap(f"{llm.models.second.provider} first", cheaper.second_first))
    if config.stt.language == "en" and config.stt.model != SMALLEST_WHISPER:
        whisper = WhisperSwap(stt, pool, config, alone=alone)
        out[Stage.STT] = [Swap(f"Whisper {SMALLEST_WHISPER}", whisper.to, whisper.hindered)]
    return out


def room_for_whisper(config: DegradationConfig) -> str:
    """Why a second Whisper may not be loaded; empty: it may. Gives free memory back first."""
    memory.trim_heap()
    needed_mb = memory.resident_mb() + SMALLEST_NEEDS_MB
    if needed_mb <= config.degrade_memory_mb:
        return ""
    return f"that takes {needed_mb:.0f} MB, and degradation.degrade_memory_mb is {config.degrade_memory_mb}"


__all__ = ["SMALLEST_WHISPER", "Swap", "room_for_whisper", "swaps_of"]
