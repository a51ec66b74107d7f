"""Whose work runs next when many calls share the models of one machine. Threads only: no models, no asyncio.

:class:`Scheduler` is for STT. It has a few threads and one executor a call, in which a pass or two wait. The executor
of a call whose user has paused goes first, because that user waits for the text. Passes during speech leave one thread
free, and get a smaller share of the machine the more calls there are.

:class:`PrioritySemaphore` is for TTS. Each call has a thread of its own, asks for one piece of sound at a time, and
says when that piece is due. What is not due yet leaves a place free.

Neither interrupts work that has begun: a pass or a piece takes 50 to 300 milliseconds.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from ..clock import SYSTEM, Clock

P = ParamSpec("P")
T = TypeVar("T")
WAITS_KEPT = 32
"""Urgent waits that :meth:`Scheduler.urgent_wait_s` looks back on."""
PAUSE_FACTOR = 2.0
"""After work that was not urgent, none of that kind begins for a pause: this times the work's own duration, times the
square of further calls a core."""
MOST_THREADS = 8
POLL_S = 0.01
"""During that pause: how often it is looked whether something has become urgent."""


class ScheduledExecutor(Executor):
    """One call's executor in a :class:`Scheduler`. Its ``shutdown`` does not touch the other calls."""

    def __init__(self, scheduler: Scheduler, urgent: Callable[[], bool]) -> None:
        self._scheduler = scheduler
        self.urgent = urgent
        self.urgent_since: float | None = None
        self.waiting: deque[tuple[int, float, Future[Any], Callable[[], Any]]] = deque()
        self.closed = False
        self.running = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._scheduler.enqueue(self, future, lambda: fn(*args, **kwargs))
        return future

    def update_urgency(self, now: float) -> None:
        """Note since when it is urgent. Called when work is submitted, and when a thread is free or polls."""
        self.urgent_since = (now if self.urgent_since is None else self.urgent_since) if self.urgent() else None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; what waits is cancelled, whatever ``cancel_futures`` says, so ``wait`` has no effect."""
        self._scheduler.remove(self)


class Scheduler:
    """Runs the work of its executors on ``width`` threads (default: one a core, at most MOST_THREADS). The work of one
    executor runs in order, and never on two threads at once.

    Executors with work that are urgent go first; among equals, the one whose work has waited longest. Urgency is asked
    when a thread is free, not when work is submitted: a pass that was submitted during speech becomes urgent the moment
    the user pauses. The last free thread takes urgent work only.

    With one executor, work follows on work. With more, after work that was not urgent only urgent work begins for a
    while: texts during speech are useful, but TTS, VAD and network need the same ``cores``.
    """

    def __init__(
        self,
        clock: Clock = SYSTEM,
        *,
        cores: int | None = None,
        width: int | None = None,
    ) -> None:
        self._clock = clock
        self._cores = cores or os.cpu_count() or 1
        width = width or min(self._cores, MOST_THREADS)
        self._places = max(1, width - 1)  # for work that is not urgent
        self._pause_until = 0.0
        self._changed = threading.Condition()
        self._executors: list[ScheduledExecutor] = []
        self._count = itertools.count()
        self._closed = self._polling = False
        self._waits: deque[tuple[float, float]] = deque(maxlen=WAITS_KEPT)
        self._threads = [threading.Thread(target=self._work, name=f"stt-{i}", daemon=True) for i in range(width)]
        for thread in self._threads:
            thread.start()

    def executor(self, urgent: Callable[[], bool] = lambda: False) -> ScheduledExecutor:
        """An executor for one call. ``urgent`` is called from any thread, and must not block."""
        executor = ScheduledExecutor(self, urgent)
        with self._changed:
            self._executors.append(executor)
        return executor

    def enqueue(self, executor: ScheduledExecutor, future: Future[Any], call: Callable[[], Any]) -> None:
        """Let ``call`` wait for a thread. RuntimeError after :meth:`close` or the executor's ``shutdown``."""
        with self._changed:
            if self._closed or executor.closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            now = self._clock.now()
            executor.waiting.append((next(self._count), now, future, call))
            executor.update_urgency(now)
            self._changed.notify()

    def remove(self, executor: ScheduledExecutor) -> None:
        """Forget ``executor``; its waiting work is cancelled."""
        with self._changed:
            executor.closed = True
            if executor in self._executors:
                self._executors.remove(executor)
            dropped = [future for _, _, future, _ in executor.waiting]
            executor.waiting.clear()
        for future in dropped:
            future.cancel()

    def close(self) -> None:
        """Run nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for executor in tuple(self._executors):
            self.remove(executor)

    def has_more_calls_than(self, calls_per_core: float) -> bool:
        """Whether there are more executors than that."""
        return len(self._executors) > calls_per_core * self._cores

    def pause_until(self, at: float) -> None:
        """Begin no work that is not urgent before ``at`` (monotonic seconds)."""
        with self._changed:
            self._pause_until = max(self._pause_until, at)

    def urgent_wait_s(self, within_s: float) -> float:
        """The longest that urgent work waited for a thread in the last ``within_s`` seconds; 0 if there was none."""
        since = self._clock.now() - within_s
        return max((wait for at, wait in tuple(self._waits) if at >= since), default=0.0)

    def _next(self) -> _Job | None:
        with self._changed:
            while True:
                if self._closed:
                    return None
                waiting = [executor for executor in self._executors if executor.waiting and not executor.running]
                if not waiting:
                    self._changed.wait()
                    continue
                now = self._clock.now()
                for one in waiting:
                    one.update_urgency(now)
                executor = min(waiting, key=lambda one: (one.urgent_since is None, one.waiting[0][0]))
                if executor.urgent_since is not None or (self._places and now >= self._pause_until):
                    break
                if self._polling:
                    self._changed.wait()  # another thread polls
                    continue
                self._polling = True
                self._changed.wait(POLL_S)
                self._polling = False
            self._changed.notify()  # there may be more work, or a thread is needed that polls
            return self._take(executor, now)

    def _take(self, executor: ScheduledExecutor, now: float) -> _Job:
        """The executor's first work, which runs from now on."""
        _, submitted_at, future, call = executor.waiting.popleft()
        job = _Job(executor, future, call, executor.urgent_since is not None)
        executor.running = True
        if executor.urgent_since is not None:
            # What was submitted during speech has been waited for only since the user paused.
            self._waits.append((now, now - max(submitted_at, executor.urgent_since)))
        else:
            self._places -= 1
        executor.urgent_since = None
        return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            began = self._clock.now()
            run(job.future, job.call)
            with self._changed:
                job.executor.running = False
                if not job.urgent:
                    ended = self._clock.now()
                    # The square: twice as many calls leave half as much of the machine, and need twice as much of it.
                    pause = PAUSE_FACTOR * ((len(self._executors) - 1) / self._cores) ** 2
                    self._pause_until = max(self._pause_until, ended + (ended - began) * pause)
                    self._places += 1
                self._changed.notify()
            del job  # nothing of a finished call is kept until the next work comes


@dataclass(frozen=True, slots=True)
class _Job:
    executor: ScheduledExecutor
    future: Future[Any]
    call: Callable[[], Any]
    urgent: bool


def run(future: Future[Any], call: Callable[[], Any]) -> None:
    """Run ``call`` and put its result or error into ``future``, unless that has been cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as e:
        future.set_exception(e)
    else:
        future.set_result(result)


class PrioritySemaphore:
    """Lets ``width`` threads through at a time: the one that is due first, then the one that came first.

    Of those that are not due yet only ``early`` are let through at a time, so that a thread that is due when it comes
    finds a place (unless all places are taken by threads that are due).
    """

    def __init__(self, width: int = 2, early: int = 1, clock: Clock = SYSTEM) -> None:
        if not 1 <= early <= width:
            raise ValueError(f"a semaphore lets at least one through, not {early} of {width}")
        self._free, self._early = width, early
        self._clock = clock
        self._lock = threading.Lock()
        self._count = itertools.count()
        self._waiting: list[tuple[float, int, _Entry]] = []

    @property
    def waiting(self) -> int:
        """Threads that wait for their turn."""
        return len(self._waiting)

    @contextlib.contextmanager
    def turn(self, due_at: float) -> Iterator[None]:
        """Wait for a turn, which should begin by ``due_at`` (monotonic seconds); it ends with the block."""
        entry = _Entry()
        with self._lock:
            heapq.heappush(self._waiting, (due_at, next(self._count), entry))
            self._let_through()
        entry.entered.wait()
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                self._early += entry.early
                self._let_through()

    def _let_through(self) -> None:
        while self._waiting and self._free:
            due_at, _, entry = self._waiting[0]
            entry.early = due_at > self._clock.now()
            if entry.early and not self._early:
                return  # the others are not due either
            heapq.heappop(self._waiting)
            self._free -= 1
            self._early -= entry.early
            entry.entered.set()


@dataclass(slots=True)
class _Entry:
    entered: threading.Event = field(default_factory=threading.Event)
    early: bool = False


__all__ = ["PrioritySemaphore", "ScheduledExecutor", "Scheduler"]
