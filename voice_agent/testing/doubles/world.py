"""Run a coroutine on virtual time with counted ids: the same run gives the same bytes.

def test_greeting() -> None:
    run(conversation())   # ten minutes of it take seconds
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
import types
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pydantic
from livekit.agents.utils import misc

from ...clock import Clock
from .loop import VirtualLoop

T = TypeVar("T")

_present: list[Clock] = []


def _now() -> float:
    """What LiveKit's values are stamped with: virtual inside of a virtual run, else the calendar time."""
    return _present[-1].wall() if _present else time.time()


class _Time(types.ModuleType):
    """The ``time`` module as a module of LiveKit sees it during a virtual run."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("time")
        self._clock = clock

    def time(self) -> float:
        return self._clock.wall()

    def time_ns(self) -> int:
        return round(self._clock.wall() * 1e9)

    def perf_counter(self) -> float:
        return self._clock.now()

    def perf_counter_ns(self) -> int:
        return round(self._clock.now() * 1e9)

    monotonic = perf_counter
    monotonic_ns = perf_counter_ns

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class _Uuid(types.ModuleType):
    """The ``uuid`` module as ``livekit.agents.utils.misc`` sees it: ids from a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__("uuid")
        self._random = random.Random(seed)

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=self._random.getrandbits(128), version=4)

    def __getattr__(self, name: str) -> Any:
        return getattr(uuid, name)


@contextlib.contextmanager
def livekit_sees(clock: Clock, seed: int = 0) -> Iterator[None]:
    """Within the block ``livekit.agents`` reads ``clock`` where it reads the ``time`` module, and counts its ids.

    LiveKit takes no clock: it stamps messages, orders the history and computes its metrics with ``time.time()`` and
    ``time.perf_counter()``, and names its values with ``uuid4``. So this block replaces names in LiveKit's modules, and
    restores them: ``time`` in each loaded module of ``livekit.agents``, ``uuid`` in its ``utils.misc``. Permanently,
    the default of ``created_at`` is a function that returns ``time.time()`` outside of such a block.
    """
    _lead_defaults()
    seen = _Time(clock)
    changed = [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith("livekit.agents") and getattr(module, "time", None) is time
    ]
    for module in changed:
        setattr(module, "time", seen)  # noqa: B010
    setattr(misc, "uuid", _Uuid(seed))  # noqa: B010 - not a name that it exports
    _present.append(clock)
    try:
        yield
    finally:
        _present.pop()
        setattr(misc, "uuid", uuid)  # noqa: B010
        for module in changed:
            setattr(module, "time", time)  # noqa: B010


_led: set[type[pydantic.BaseModel]] = set()


def _lead_defaults() -> None:
    """Let every LiveKit value whose ``created_at`` is ``time.time`` by default ask :func:`_now` instead."""
    todo = list(pydantic.BaseModel.__subclasses__())
    while todo:
        model = todo.pop()
        todo.extend(model.__subclasses__())
        if model in _led or not model.__module__.startswith("livekit.agents"):
            continue
        _led.add(model)
        mine = [f for f in model.model_fields.values() if f.default_factory is time.time]
        for field in mine:
            field.default_factory = _now
        if mine:
            model.model_rebuild(force=True)


def run(
    main: Coroutine[Any, Any, T] | Callable[[Clock], Coroutine[Any, Any, T]],
    *,
    seed: int = 0,
    limit_s: float = 7200.0,
) -> T:
    """Run ``main`` on virtual time, as ``asyncio.run`` does on the real one, and return its result.

    ``main``: a coroutine, or a function that is given the run's :class:`~voice_agent.clock.Clock` and returns one.
    ``seed``: of LiveKit's ids. Raises VirtualTimeError for what virtual time cannot hold (see :mod:`.loop`), and when
    ``limit_s`` virtual seconds are over.
    """
    __tracebackhide__ = True  # pytest: the failing line is in the test
    loop = VirtualLoop(limit_s=limit_s)
    with livekit_sees(loop.clock, seed), asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop.clock) if callable(main) else main)
