"""An event loop on virtual time: nothing waits, and every run has the same order of events.

``asyncio.sleep(600)`` on a :class:`VirtualLoop` returns at once, and the loop's clock is 600 s on. When no callback is
ready the clock jumps to the next timer; the idea is trio's ``MockClock`` (``autojump_threshold=0``), for asyncio.

Whatever would make runs differ is refused with an error: sockets, pipes, and threads that call into the loop on their
own. ``run_in_executor`` is allowed: the loop stands still until the work is done, so it takes no virtual time, or the
seconds that the work asks for with :func:`spend`.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple, Unpack

from ...errors import VoiceAgentError

EPOCH_S = 1_767_225_600.0  # 2026-01-01 00:00 UTC: what virtual wall clocks begin at
START_S = 1_000.0  # not 0: code that takes 0 for "not set" must fail

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_spent = threading.local()


class VirtualTimeError(VoiceAgentError):
    """Something that virtual time cannot hold: a socket, a thread of its own, a wait for nothing, an endless wait."""


def spend(seconds: float) -> None:
    """Called by blocking work in an executor: it takes ``seconds`` of virtual time. Without a virtual loop: nothing."""
    _spent.s = getattr(_spent, "s", 0.0) + seconds


class VirtualClock:
    """A :class:`~voice_agent.clock.Clock` that shows a virtual loop's time."""

    __slots__ = ("_loop",)

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return EPOCH_S + self._loop.time()


class _Selector(selectors.BaseSelector):
    """Holds only the loop's own wake-up pipe; it moves the clock instead of waiting."""

    def __init__(self) -> None:
        self.loop: VirtualLoop | None = None
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if self.loop is not None:
            raise VirtualTimeError(
                "a socket or pipe was opened on virtual time, and how long it takes to answer is unknown."
                " Give the code under test a double (voice_agent.testing.doubles has them), or test it in real time"
            )
        key = selectors.SelectorKey(fileobj, number, events, data)
        self._keys[number] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise KeyError(fileobj)  # only the wake-up pipe is here, and it is never modified

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert self.loop is not None
        self.loop._idle(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self._keys.clear()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Virtual time from ``start_s`` on. ``limit_s``: the virtual time after which a test counts as hanging."""

    def __init__(self, *, start_s: float = START_S, limit_s: float = 7200.0) -> None:
        self._now_s = start_s
        self._limit_s = start_s + limit_s
        self._job = False  # an executor works and the loop stands still
        self._thread = threading.get_ident()
        self._intruder = ""
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self
        self._clock_resolution = 1e-9
        self._pool: ThreadPoolExecutor | None = None
        self.clock = VirtualClock(self)

    def time(self) -> float:
        return self._now_s

    def _idle(self, timeout: float | None) -> None:
        """Called instead of a wait. ``timeout``: seconds to the next timer, 0: something is ready, None: neither."""
        if self._intruder:
            who, self._intruder = self._intruder, ""
            raise VirtualTimeError(
                f"the thread {who!r} called into the event loop on its own, at an undefined virtual time."
                " Use loop.run_in_executor (the loop waits for it), or a double"
            )
        if timeout is None:
            raise VirtualTimeError("nothing is scheduled and nothing can happen any more: a task waits for something"
                                   " that never happens. Tasks: " + _names(self))  # fmt: skip
        if timeout > 0:
            if self._now_s + timeout > self._limit_s:
                self._limit_s = float("inf")  # once: what ends the tasks needs time too
                raise VirtualTimeError("the limit of virtual time is reached: what is waited for does not come."
                                       " Tasks: " + _names(self))  # fmt: skip
            self._now_s += timeout

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Do the work on the executor's thread while the loop stands still; see :func:`spend`."""
        if executor is None:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="virtual")
            executor = self._pool
        future: asyncio.Future[T] = self.create_future()

        def work() -> tuple[list[T], BaseException | None, float]:
            _spent.s = 0.0
            try:
                return [func(*args)], None, _spent.s
            except BaseException as error:  # raised where it is awaited
                return [], error, _spent.s

        job = executor.submit(work)
        self._job = True
        try:
            result, error, spent_s = job.result()
        finally:
            self._job = False

        def done() -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result[0])
            else:
                future.set_exception(error)

        if spent_s > 0:
            self.call_later(spent_s, done)
        else:
            done()
        return future

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread and not self._job:
            self._intruder = threading.current_thread().name
        return self.call_soon(callback, *args, context=context)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's name
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def _names(loop: asyncio.AbstractEventLoop) -> str:
    """The tasks that are not done, by name and coroutine, in a fixed order."""
    found = sorted(
        f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')})" for task in asyncio.all_tasks(loop)
    )
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "") or "none"
