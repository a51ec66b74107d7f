"""What the providers' quotas have left: counted, kept in one file for all processes, and held to the settings.

``with opened(config.meter): ...`` makes a meter current for this process; :func:`snapshot` is what to show.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from ..clock import SYSTEM, Clock
from ..config import MeterConfig
from .meter import FILE, Level, Reading, Snapshot, UsageMeter
from .quota import Price, Quota, from_headers, parse_limits, parse_prices
from .store import Totals

__all__ = [
    "FILE",
    "Level",
    "Price",
    "Quota",
    "Reading",
    "Snapshot",
    "Totals",
    "UsageMeter",
    "current",
    "from_headers",
    "opened",
    "parse_limits",
    "parse_prices",
    "snapshot",
]

_lock = threading.Lock()
_open: list[UsageMeter] = []


def current() -> UsageMeter | None:
    """The meter of this process; None: nobody opened one."""
    return _open[-1] if _open else None


def snapshot() -> Snapshot | None:
    """What the current meter reads; None: nobody opened one."""
    meter = current()
    return meter.snapshot() if meter is not None else None


@contextlib.contextmanager
def opened(config: MeterConfig, path: Path | None = None, *, clock: Clock = SYSTEM) -> Iterator[UsageMeter | None]:
    """A meter for the block, current in this process; None if ``meter.enabled`` is false.

    ``path``: the file, in place of the one in the cache folder. Raises ConfigError for limits or prices that cannot
    be read.
    """
    if not config.enabled:
        yield None
        return
    meter = UsageMeter(config, path, clock=clock)
    with _lock:
        _open.append(meter)
    try:
        yield meter
    finally:
        with _lock:
            _open.remove(meter)
        meter.close()
