"""A circuit breaker for one provider: pure, time as an argument.

Nygard, "Release It!", chapter 5: after failures in a row the provider is left alone for a while, so that a turn does
not wait for what will fail; then one request tries it, and its end decides. Each trial in vain doubles the while.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...config import DegradationConfig

BreakerState = Literal["closed", "open", "half open"]

LONGEST_S = 80.0
"""Trials are no further apart than this (or than ``degradation.breaker_open_s``, if that is longer)."""


@dataclass(slots=True)
class Breaker:
    """Of one provider: closed, open after failures in a row, half open after a while (one request tries it).

    ``backs_off``: each failed trial doubles the time to the next. Where there is nobody else to ask it does not: then
    whoever waits for the provider's return is the user.
    """

    failures_to_open: int
    open_s: float
    backs_off: bool = True
    _failures: int = 0
    _opened_at: float | None = None
    _probing: bool = False
    _in_vain: int = 0

    @classmethod
    def of(cls, config: DegradationConfig, *, backs_off: bool = True) -> Breaker:
        return cls(config.breaker_failures, config.breaker_open_s, backs_off)

    @property
    def _wait_s(self) -> float:
        if not self.backs_off:
            return self.open_s
        return float(max(self.open_s, min(LONGEST_S, self.open_s * 2.0 ** min(self._in_vain, 30))))

    def state(self, now_s: float) -> BreakerState:
        """``closed``, ``open`` or ``half open``."""
        if self._opened_at is None:
            return "closed"
        return "open" if now_s < self._opened_at + self._wait_s or self._probing else "half open"

    def ask(self, now_s: float) -> BreakerState:
        """The state, for a request that is about to be sent. ``half open``: it is the one that tries."""
        state = self.state(now_s)
        self._probing = self._probing or state == "half open"
        return state

    def rest_s(self, now_s: float) -> float:
        """How long it stays open; 0 if it is not."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self._wait_s - now_s)

    def succeeded(self) -> None:
        """First content of an answer came."""
        self._failures, self._opened_at, self._probing, self._in_vain = 0, None, False, 0

    def came_back(self) -> None:
        """A trial of a few words was answered: closed, but the next failure of a real request opens it again at once,
        for as long as before."""
        self._failures, self._opened_at, self._probing = self.failures_to_open - 1, None, False

    def failed(self, now_s: float) -> None:
        """A request failed (one that was cancelled did not)."""
        self._failures += 1
        self._in_vain += self._probing
        if self._probing or self._failures >= self.failures_to_open:
            self._opened_at, self._probing = now_s, False

    def abandoned(self) -> None:
        """The request that tried was cancelled: nobody knows, the next one tries."""
        self._probing = False
