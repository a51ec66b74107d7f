"""Who works next, when many calls share the models of one machine. Pure threads: no models, no asyncio.

Two shapes. :class:`Scheduler` is for the ears: a few threads, one lane a call, at most a pass or two waiting in each; a
lane whose speaker has paused goes first, because somebody waits for that text, and what nobody waits for leaves a
thread free and gets a smaller share of the machine the more calls there are. :class:`PrioritySemaphore` is for the
mouth: each
call has its own thread, and asks for its turn a piece of sound at a time, and says by when it has to begin; what is not
due yet leaves a place free. Neither interrupts what has begun: a pass or a piece takes 50 to 300 milliseconds.
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
WAITS_KEPT = 32  # urgent waits that Lanes.urgent_wait_s looks back on
REST = 2.0  # how long work that nobody waits for rests, in its own length: times the square of further calls on a core
MOST_THREADS = 8
ASK_AGAIN_S = 0.01  # during that rest: has anything become urgent?


class ScheduledExecutor(Executor):
    """One call's place in :class:`Scheduler`: an executor as any other, whose ``shutdown`` leaves the other calls
    be."""

    def __init__(self, scheduler: Scheduler, urgent: Callable[[], bool]) -> None:
        self._lanes = scheduler
        self.urgent = urgent
        self.urgent_since: float | None = None
        self.waiting: deque[tuple[int, float, Future[Any], Callable[[], Any]]] = deque()
        self.closed = False
        self.running = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._lanes.enqueue(self, future, lambda: fn(*args, **kwargs))
        return future

    def look(self, now: float) -> None:
        """Is it urgent, and since when? Looked at when work comes, and when a thread is free or asks again."""
        self.urgent_since = (now if self.urgent_since is None else self.urgent_since) if self.urgent() else None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; what waits is cancelled, whatever ``cancel_futures`` says. ``wait`` has nothing to wait for."""
        self._lanes.remove(self)


class Scheduler:
    """Runs what the lanes submit on ``width`` threads (default: one a core, at most MOST_THREADS), a lane's in order.

    Among the lanes with work, those that are ``urgent`` right now go first; among equals, the one that has waited
    longest. Urgency is asked when a thread is free, not when work is submitted: a pass that was begun to be wanted
    while somebody spoke becomes urgent the moment they pause. The last free thread takes urgent work only.

    With one lane, work follows on work. With more, after a piece that was not urgent only urgent ones are taken
    for a while: texts during speech are good to have, but voices, VADs and networks need the same ``cores``.
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
        self._places = max(1, width - 1)  # for what is not urgent
        self._rest_until = 0.0
        self._ready = threading.Condition()
        self._lanes: list[ScheduledExecutor] = []
        self._count = itertools.count()
        self._closed = self._asking = False
        self._waits: deque[tuple[float, float]] = deque(maxlen=WAITS_KEPT)
        self._threads = [threading.Thread(target=self._work, name=f"ears {i}", daemon=True) for i in range(width)]
        for thread in self._threads:
            thread.start()

    def lane(self, urgent: Callable[[], bool] = lambda: False) -> ScheduledExecutor:
        """A lane for one call. ``urgent`` is called from the working threads and by who submits; it must not block."""
        lane = ScheduledExecutor(self, urgent)
        with self._ready:
            self._lanes.append(lane)
        return lane

    def enqueue(self, lane: ScheduledExecutor, future: Future[Any], call: Callable[[], Any]) -> None:
        """Wait for a thread in ``lane``. RuntimeError after :meth:`close` or the lane's ``shutdown``."""
        with self._ready:
            if self._closed or lane.closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            now = self._clock.now()
            lane.waiting.append((next(self._count), now, future, call))
            lane.look(now)
            self._ready.notify()

    def remove(self, lane: ScheduledExecutor) -> None:
        """Forget ``lane``; what waits in it is cancelled."""
        with self._ready:
            lane.closed = True
            if lane in self._lanes:
                self._lanes.remove(lane)
            dropped = [future for _, _, future, _ in lane.waiting]
            lane.waiting.clear()
        for future in dropped:
            future.cancel()

    def close(self) -> None:
        """Run nothing more."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()
        for lane in tuple(self._lanes):
            self.remove(lane)

    def crowded(self, calls_per_core: float) -> bool:
        """Whether there are more calls than that."""
        return len(self._lanes) > calls_per_core * self._cores

    def urgent_wait_s(self, within_s: float) -> float:
        """The longest that urgent work waited for a thread in the last ``within_s`` seconds; 0 if there was none."""
        since = self._clock.now() - within_s
        return max((wait for at, wait in tuple(self._waits) if at >= since), default=0.0)

    def _next(self) -> _Job | None:
        with self._ready:
            while True:
                if self._closed:
                    return None
                waiting = [lane for lane in self._lanes if lane.waiting and not lane.running]
                if not waiting:
                    self._ready.wait()
                    continue
                now = self._clock.now()
                for one in waiting:
                    one.look(now)
                lane = min(waiting, key=lambda lane: (lane.urgent_since is None, lane.waiting[0][0]))
                if lane.urgent_since is not None or (self._places and now >= self._rest_until):
                    break
                if self._asking:
                    self._ready.wait()  # another thread looks
                    continue
                self._asking = True
                self._ready.wait(ASK_AGAIN_S)
                self._asking = False
            self._ready.notify()  # there may be more, or somebody to ask again for it
            _, wanted_at, future, call = lane.waiting.popleft()
            job = _Job(lane, future, call, lane.urgent_since is not None)
            lane.running = True
            if lane.urgent_since is not None:
                # Nobody waited for what was wanted in mid-speech before the speaker paused.
                self._waits.append((now, now - max(wanted_at, lane.urgent_since)))
            else:
                self._places -= 1
            lane.urgent_since = None
            return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            began = self._clock.now()
            run(job.future, job.call)
            with self._ready:
                job.lane.running = False
                if not job.urgent:
                    ended = self._clock.now()
                    # The square: twice as many calls leave half as much of the machine, and ask for twice of it.
                    rest = REST * ((len(self._lanes) - 1) / self._cores) ** 2
                    self._rest_until = max(self._rest_until, ended + (ended - began) * rest)
                    self._places += 1
                self._ready.notify()
            del job  # nothing of a finished call is kept until the next one comes


@dataclass(frozen=True, slots=True)
class _Job:
    lane: ScheduledExecutor
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
    """Lets ``width`` threads through at a time: who must begin first goes first, then who came first.

    Of those who need not begin yet only ``early`` are let through at a time, so that who comes in a hurry finds a place
    (unless all of them are in a hurry).
    """

    def __init__(self, width: int = 2, early: int = 1, clock: Clock = SYSTEM) -> None:
        if not 1 <= early <= width:
            raise ValueError(f"a turnstile lets at least one through, not {early} of {width}")
        self._free, self._early = width, early
        self._clock = clock
        self._lock = threading.Lock()
        self._count = itertools.count()
        self._waiting: list[tuple[float, int, _Entry]] = []

    @contextlib.contextmanager
    def turn(self, by: float) -> Iterator[None]:
        """Wait for a turn, which should begin at ``by`` (monotonic seconds) at the latest; it ends with the block."""
        entry = _Entry()
        with self._lock:
            heapq.heappush(self._waiting, (by, next(self._count), entry))
            self._let_in()
        entry.entered.wait()
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                self._early += entry.early
                self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._free:
            by, _, entry = self._waiting[0]
            entry.early = by > self._clock.now()
            if entry.early and not self._early:
                return  # nor are the others due
            heapq.heappop(self._waiting)
            self._free -= 1
            self._early -= entry.early
            entry.entered.set()


@dataclass(slots=True)
class _Entry:
    entered: threading.Event = field(default_factory=threading.Event)
    early: bool = False


__all__ = ["PrioritySemaphore", "ScheduledExecutor", "Scheduler"]
