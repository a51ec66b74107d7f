"""The usage meter: requests and tokens by provider, in one file for all processes, compared with the quotas.

``with opened(config.meter): ...`` opens the meter of this process; :func:`snapshot` returns what to show. Read
``quota`` (limits, rate headers, prices), ``store`` (the SQLite file), ``readings`` (what is shown), ``meter`` (the
thread).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from ..clock import SYSTEM, Clock
from ..config import MeterConfig
from .meter import FILE, UsageMeter
from .quota import Price, Quota, from_headers, parse_limits, parse_prices
from .readings import Level, Reading, Snapshot
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
    """The meter of this process; None if none is open."""
    return _open[-1] if _open else None


def snapshot() -> Snapshot | None:
    """The current meter's snapshot; None if none is open."""
    meter = current()
    return meter.snapshot() if meter is not None else None


@contextlib.contextmanager
def opened(config: MeterConfig, path: Path | None = None, *, clock: Clock = SYSTEM) -> Iterator[UsageMeter | None]:
    """Open the meter of this process for the block; yields None if ``meter.enabled`` is false.

    ``path``: the file, instead of the one in the cache folder. Raises ConfigError for limits or prices that cannot be
    parsed.
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
