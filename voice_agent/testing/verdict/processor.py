"""What other programs took from a piece of work: how long its threads waited for a processor.

On a shared machine a stage's time is its own plus that of the programs that had the processor meanwhile. The second can
be twice the first, and hides a change of 40 ms. Linux counts for each thread how long it ran and how long it was ready
and did not run (``/proc/PID/task/TID/schedstat``, the kernel's Documentation/scheduler/sched-stats.rst). Waiting for
anything else (a lock, a device, a sleep) is in neither count: a stage that is late for such a reason stays late.

Where the system does not count (macOS, Windows), nothing is subtracted: times are those of the clock.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ...clock import SYSTEM, Clock

TASKS = "/proc/self/task"
HELPED = 0.05  # a thread that ran for a smaller share of the time did none of the work
Usage = Mapping[int, tuple[float, float]]
"""Thread -> (ran, waited for a processor), milliseconds since it began."""
Read = Callable[[], Usage]


def own_usage() -> Usage:
    """Usage of the calling thread; empty where the system does not count."""
    me = threading.get_native_id()
    return _read((str(me),))


def engine_usage() -> Usage:
    """Usage of the calling thread and of all threads that are not Python's: an engine's (CTranslate2, onnxruntime)."""
    python = {str(t.native_id) for t in threading.enumerate()} - {str(threading.get_native_id())}
    try:
        return _read([name for name in os.listdir(TASKS) if name not in python])
    except OSError:
        return {}


def nothing() -> Usage:
    """Nothing is known, so nothing is subtracted."""
    return {}


def told_by(clock: Clock, read: Read) -> Read:
    """``read`` on the system's clock; :func:`nothing` on any other: in virtual time no thread waits for a processor."""
    return read if clock is SYSTEM else nothing


def _read(threads: Collection[str]) -> Usage:
    found: dict[int, tuple[float, float]] = {}
    for name in threads:
        try:
            with open(f"{TASKS}/{name}/schedstat", "rb") as file:
                ran, waited, _ = file.read().split()
        except (OSError, ValueError):  # it has ended, or there is no such file here
            continue
        found[int(name)] = (int(ran) / 1e6, int(waited) / 1e6)
    return found


def undisturbed_ms(taken_ms: float, before: Usage, after: Usage, own: int) -> float:
    """How long a piece of work of thread ``own`` takes when a processor is free for each of its threads.

    Its threads: ``own``, and of the others in both readings those that ran at least half as long as the busiest (the
    engine's helpers), unless none worked at all. A lone thread's wait is subtracted. Several threads work on parts of
    one thing, which stands still while any of them waits. When each waited is not known, so their waits are taken as
    independent: work that takes r undisturbed takes e, with e * (1 - w1/e) * (1 - w2/e) ... = r. Time beyond e is sleep
    and stays.
    """
    moved = {
        thread: (ran - before[thread][0], waited - before[thread][1])
        for thread, (ran, waited) in after.items()
        if thread in before
    }
    if taken_ms <= 0 or not moved:
        return max(0.0, taken_ms)
    own_ran, own_waited = moved.pop(own, (0.0, 0.0))
    busiest = max(own_ran, *(ran for ran, _ in moved.values())) if moved else own_ran
    waits = [waited for ran, waited in moved.values() if ran >= max(busiest / 2, taken_ms * HELPED)]
    if not waits or own_ran >= busiest / 2:  # it is one of them, not only their caller
        waits.append(own_waited)
        own_ran = own_waited = 0.0
    if len(waits) == 1 and own_ran == own_waited == 0.0:
        return min(taken_ms, max(taken_ms - waits[0], busiest))
    rest_ms = taken_ms - own_ran - own_waited
    return min(taken_ms, own_ran + busiest + max(0.0, rest_ms - _stretched_ms(busiest, waits)))


def _stretched_ms(work_ms: float, waits_ms: Sequence[float]) -> float:
    """How long work that takes ``work_ms`` undisturbed takes while its threads wait that long, independently."""
    low, high = work_ms + max(waits_ms), work_ms + sum(waits_ms)
    for _ in range(40):
        middle = (low + high) / 2
        free = middle * math.prod(max(0.0, 1.0 - wait / middle) for wait in waits_ms) if middle > 0 else work_ms
        low, high = (middle, high) if free < work_ms else (low, middle)
    return high


@dataclass(frozen=True, slots=True)
class Span:
    """A finished piece of work: begin and end on the clock in seconds, and the milliseconds of it that were its own."""

    begin: float
    end: float
    own_ms: float

    @property
    def taken_ms(self) -> float:
        return (self.end - self.begin) * 1000


class Watch:
    """Times one piece of work on the calling thread: made at its beginning, :meth:`stop` at its end, same thread."""

    def __init__(self, clock: Clock, read: Read = own_usage) -> None:
        self._read, self._clock = read, clock
        self._before = read()
        self._began = clock.now()

    def stop(self) -> Span:
        ended = self._clock.now()
        taken_ms = (ended - self._began) * 1000
        own = undisturbed_ms(taken_ms, self._before, self._read(), threading.get_native_id())
        return Span(self._began, ended, own)


__all__ = ["Read", "Span", "Usage", "Watch", "engine_usage", "nothing", "own_usage", "told_by", "undisturbed_ms"]
