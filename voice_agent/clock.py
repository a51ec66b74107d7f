"""The one module that reads the time.

All code that measures or waits takes a :class:`Clock`; tests inject a :class:`ManualClock`. Times are seconds as
``float`` on one monotonic clock; only :meth:`Clock.wall` is a calendar time.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time. ``now`` never goes backwards; ``wall`` is seconds since the Unix epoch."""

    def now(self) -> float: ...

    def wall(self) -> float: ...


class MonotonicClock:
    """The machine's monotonic clock (``time.perf_counter``, which LiveKit uses for its durations too)."""

    __slots__ = ()

    def now(self) -> float:
        return time.perf_counter()

    def wall(self) -> float:
        return time.time()


class ManualClock:
    """A clock that a test moves with :meth:`advance`."""

    __slots__ = ("_now",)

    def __init__(self, start_s: float = 0.0) -> None:
        self._now = start_s

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward by ``seconds``. Raises ValueError if negative."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds} s")
        self._now += seconds


SYSTEM: Clock = MonotonicClock()


def from_wall(wall_s: float, clock: Clock = SYSTEM) -> float:
    """A recent calendar time (``time.time()``, as in LiveKit's events) in seconds of the monotonic clock."""
    return clock.now() - (clock.wall() - wall_s)
