"""Marks and facts of a generation, written by the stages without knowing the ledger that reads them.

A *generation* is one attempt at a reply: one LLM request and the speech made from it. The code that starts one opens a
:class:`GenerationTrace`; all code that runs below it, in the same :mod:`contextvars` context, finds it with
:func:`current`. A stage used alone has no trace, and its marks and facts are dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .clock import SYSTEM, Clock


@dataclass(slots=True)
class GenerationTrace:
    """Marks (seconds on the monotonic clock) and facts of one generation. The first write of a mark wins."""

    id: str
    clock: Clock = SYSTEM
    marks: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    held: asyncio.Event | None = None
    rest_s: Callable[[], float | None] | None = None
    """Returns the estimated seconds until the first content, or None if unknown. Set by ``llm/hedging/race.py``."""
    at_risk: Callable[[], bool] | None = None
    """Returns whether the turn may be late. Set by ``pipeline/degradation.py``, which knows its deadlines."""

    def hold(self) -> None:
        """Make this generation provisional: costly work after the first audio waits for :meth:`release`."""
        if self.held is None:
            self.held = asyncio.Event()

    def release(self) -> None:
        """This generation will be played."""
        if self.held is not None:
            self.held.set()

    def mark(self, name: str, at: float | None = None) -> None:
        """Record that ``name`` happened at ``at`` (default: now). Later writes of the same name are ignored."""
        self.marks.setdefault(name, self.clock.now() if at is None else at)

    def fact(self, **facts: Any) -> None:
        """Add facts: model, provider, token counts, provider timings. Later writes replace earlier ones."""
        self.facts.update(facts)

    def degradation_step(self, name: str, what: Any = True) -> None:
        """Record a degradation step of the turn (docs/budget.md)."""
        self.facts["ladder"] = {**self.facts.get("ladder", {}), name: what}


_current: contextvars.ContextVar[GenerationTrace | None] = contextvars.ContextVar(
    "voice_agent_generation", default=None
)


def current() -> GenerationTrace | None:
    """The generation that the running code belongs to; None outside of one."""
    return _current.get()


@contextlib.contextmanager
def generation(trace: GenerationTrace) -> Iterator[GenerationTrace]:
    """Make ``trace`` current for the block and for every task started inside it."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def adopt(trace: GenerationTrace) -> None:
    """Make ``trace`` current for the rest of this task (an async generator cannot reset across its yields)."""
    _current.set(trace)


def mark(name: str, at: float | None = None) -> None:
    """Record a mark on the current generation, if there is one."""
    if (trace := _current.get()) is not None:
        trace.mark(name, at)


def fact(**facts: Any) -> None:
    """Attach facts to the current generation, if there is one."""
    if (trace := _current.get()) is not None:
        trace.fact(**facts)


async def released() -> None:
    """Return when the current generation will certainly be played; at once if it is not provisional."""
    trace = _current.get()
    if trace is not None and trace.held is not None:
        await trace.held.wait()


def provisional() -> Callable[[], bool]:
    """A function that tells, from any thread, whether the generation that is current now is still provisional."""
    trace = _current.get()
    return lambda: trace is not None and trace.held is not None and not trace.held.is_set()


def at_risk() -> bool:
    """Whether the current generation's turn may be late; False if unknown."""
    trace = _current.get()
    return trace is not None and trace.at_risk is not None and trace.at_risk()


def degradation_step(name: str, what: Any = True) -> None:
    """Record a degradation step on the current generation, if there is one."""
    if (trace := _current.get()) is not None:
        trace.degradation_step(name, what)
