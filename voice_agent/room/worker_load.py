"""The load that a worker reports: 0 (idle) to 1 (take no more calls), by what a call really costs.

Processor use alone is no measure: the STT uses idle time to transcribe more often, and needs a fraction of it. So
calls are counted against what the cores carry (``room.calls_per_core``, measured by ``scripts/bench rooms``); cores
that other programs use do not count; and a machine whose STT is late is full whatever the count says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from ..config import RoomConfig

LATE_S = 0.4
"""From this wait for the STT on a machine is full; one pass takes less than a tenth of it."""
LOOK_BACK_S = 10.0


@dataclass(frozen=True, slots=True)
class CoresUsed:
    """Processor time in use, in cores: of the whole machine, and of this program."""

    machine: float
    own: float


def load(config: RoomConfig, calls: int, cores: float, busy: CoresUsed, late_s: float) -> float:
    """The load with ``calls`` running on ``cores``. Pure.

    ``late_s``: the longest that a pass at the end of somebody's speech has recently waited for the STT.
    """
    free = max(0.5, cores - max(0.0, busy.machine - busy.own))
    capacity = config.calls_per_core * free
    if config.max_calls:
        capacity = min(capacity, config.max_calls)
    if late_s > LATE_S and calls:
        return 1.0
    # Full means that one more would be too many; LiveKit compares with a threshold just below 1.
    return min(1.0, calls / max(1.0, capacity))


class LoadMonitor:
    """Measures the machine between two calls of :meth:`load`.

    ``calls``: how many run. ``stt_wait_s(within_s)``: the longest urgent wait for the STT in the last ``within_s``.
    """

    def __init__(
        self, config: RoomConfig, cores: float, calls: Callable[[], int], stt_wait_s: Callable[[float], float]
    ) -> None:
        self._config = config
        self._cores = cores
        self._calls = calls
        self._stt_wait_s = stt_wait_s
        self._own = psutil.Process(os.getpid())
        self._smooth = CoresUsed(0.0, 0.0)
        psutil.cpu_percent(None)
        self._own.cpu_percent(None)

    def load(self) -> float:
        """For LiveKit's ``load_fnc``, which is called twice a second: smoothed over ~2.5 s, as LiveKit's own is."""
        machine = psutil.cpu_percent(None) / 100 * (psutil.cpu_count() or 1)
        own = self._own.cpu_percent(None) / 100
        keep = 0.8
        self._smooth = CoresUsed(
            keep * self._smooth.machine + (1 - keep) * machine, keep * self._smooth.own + (1 - keep) * own
        )
        return load(self._config, self._calls(), self._cores, self._smooth, self._stt_wait_s(LOOK_BACK_S))
