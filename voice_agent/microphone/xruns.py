"""Xruns: blocks of samples that a device lost because a program was late. Pure: time is an argument."""

from __future__ import annotations

from collections import deque

LIMITS = ((3, 10.0), (5, 120.0))  # (xruns, within seconds): one device has too many
SETTLING_S = 1.0  # xruns this soon after a device was opened do not count


class XrunMonitor:
    """Decides whether one device has too many xruns. ``too_many_since``: monotonic time; None: it has not."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=max(often for often, _ in LIMITS))
        self._count = 0
        self._from = 0.0
        self.too_many_since: float | None = None

    def reset(self, now: float, count: int) -> None:
        """The device was opened at ``now``; ``count`` xruns happened before."""
        self._times.clear()
        self._count, self._from, self.too_many_since = count, now + SETTLING_S, None

    def update(self, now: float, count: int) -> None:
        """Call this regularly with the number of xruns since the call began."""
        new, self._count = count - self._count, count
        if now >= self._from:
            self._times.extend([now] * (new > 0))  # PortAudio reports one underrun for several blocks: count it once
        times = self._times
        if self.too_many_since is None and any(len(times) >= n and now - times[-n] <= s for n, s in LIMITS):
            self.too_many_since = now
