"""A circuit breaker for one provider: pure, time as an argument.

Nygard, "Release It!", chapter 5: after failures in a row the provider is left alone for a while, so that a turn does
not wait for what will fail; then one request tries it, and its end decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config import LadderConfig

State = Literal["closed", "open", "half open"]


@dataclass(slots=True)
class Breaker:
    """Of one provider: closed, open after failures in a row, half open after a while (one request tries it)."""

    failures_to_open: int
    open_s: float
    _failures: int = 0
    _opened_at: float | None = None
    _probing: bool = False

    @classmethod
    def of(cls, config: LadderConfig) -> Breaker:
        return cls(config.breaker_failures, config.breaker_open_s)

    def state(self, now_s: float) -> State:
        """``closed``, ``open`` or ``half open``."""
        if self._opened_at is None:
            return "closed"
        return "open" if now_s < self._opened_at + self.open_s or self._probing else "half open"

    def ask(self, now_s: float) -> State:
        """The state, for a request that is about to be sent. ``half open``: it is the one that tries."""
        state = self.state(now_s)
        self._probing = self._probing or state == "half open"
        return state

    def rest_s(self, now_s: float) -> float:
        """How long it stays open; 0 if it is not."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self.open_s - now_s)

    def succeeded(self) -> None:
        """First content came."""
        self._failures, self._opened_at, self._probing = 0, None, False

    def failed(self, now_s: float) -> None:
        """A request failed (one that was cancelled did not)."""
        self._failures += 1
        if self._probing or self._failures >= self.failures_to_open:
            self._opened_at, self._probing = now_s, False

    def abandoned(self) -> None:
        """The request that tried was cancelled: nobody knows, the next one tries."""
        self._probing = False
