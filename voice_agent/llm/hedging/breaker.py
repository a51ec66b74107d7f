"""A circuit breaker for one provider (Nygard, "Release It!", chapter 5). Pure: time is an argument.

After failures in a row no request is sent for a time, so that a turn does not wait for a request that will fail. Then
one request is the trial, and its result closes or reopens the breaker. Each failed trial doubles the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...config import DegradationConfig

BreakerState = Literal["closed", "open", "half open"]

LONGEST_S = 80.0
"""The longest time between two trials (``degradation.breaker_open_s`` if that is longer)."""


@dataclass(slots=True)
class Breaker:
    """Closed; open after ``failures_to_open`` failures in a row; half open after ``open_s`` (one request is the trial).

    ``backs_off``: each failed trial doubles the time to the next. Without a second provider it does not, since then the
    user waits for this provider's return.
    """

    failures_to_open: int
    open_s: float
    backs_off: bool = True
    _failures: int = 0
    _opened_at: float | None = None
    _probing: bool = False
    _failed_trials: int = 0

    @classmethod
    def of(cls, config: DegradationConfig, *, backs_off: bool = True) -> Breaker:
        return cls(config.breaker_failures, config.breaker_open_s, backs_off)

    @property
    def _wait_s(self) -> float:
        if not self.backs_off:
            return self.open_s
        return float(max(self.open_s, min(LONGEST_S, self.open_s * 2.0 ** min(self._failed_trials, 30))))

    def state(self, now_s: float) -> BreakerState:
        """``closed``, ``open`` or ``half open``."""
        if self._opened_at is None:
            return "closed"
        return "open" if now_s < self._opened_at + self._wait_s or self._probing else "half open"

    def ask(self, now_s: float) -> BreakerState:
        """The state for a request that is about to be sent. ``half open``: this request is the trial."""
        state = self.state(now_s)
        self._probing = self._probing or state == "half open"
        return state

    def rest_s(self, now_s: float) -> float:
        """How long it stays open; 0 if it is not open."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self._wait_s - now_s)

    def succeeded(self) -> None:
        """The first content of an answer has come."""
        self._failures, self._opened_at, self._probing, self._failed_trials = 0, None, False, 0

    def came_back(self) -> None:
        """A background trial was answered: close, but the next failure of a user's request opens it again at once, for
        the same time as before."""
        self._failures, self._opened_at, self._probing = self.failures_to_open - 1, None, False

    def failed(self, now_s: float) -> None:
        """A request failed (cancelled requests do not count)."""
        self._failures += 1
        self._failed_trials += self._probing
        if self._probing or self._failures >= self.failures_to_open:
            self._opened_at, self._probing = now_s, False

    def abandoned(self) -> None:
        """The trial was cancelled: the next request is the trial."""
        self._probing = False
