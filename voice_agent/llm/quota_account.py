"""The usage meter as one endpoint sees it: requests are admitted, counted, and their rate headers read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import RateLimitedError
from ..meter import UsageMeter


@dataclass(frozen=True, slots=True)
class QuotaAccount:
    """``provider`` at ``meter``; ``rate_headers`` names the scheme of its headers (:mod:`voice_agent.meter.quota`).

    ``meter`` None: nothing is counted and everything admitted (a simulation, a model on this machine, no meter).
    """

    meter: UsageMeter | None
    provider: str
    rate_headers: str

    def admit(self) -> None:
        """Raise RateLimitedError if the quota is used up and the settings forbid further requests."""
        if self.meter is not None:
            self.meter.admit(self.provider)

    @property
    def admitted(self) -> bool:
        """Whether :meth:`admit` would let a request pass now."""
        try:
            self.admit()
        except RateLimitedError:
            return False
        return True

    def read_headers(self, headers: Mapping[str, str]) -> None:
        """Hand the rate headers of an answer to the meter."""
        if self.meter is not None:
            self.meter.read_headers(self.provider, headers, self.rate_headers)

    def used(self, model: str, **counts: int) -> None:
        """Count requests and tokens (:meth:`.UsageMeter.used`)."""
        if self.meter is not None:
            self.meter.used(self.provider, model, **counts)
