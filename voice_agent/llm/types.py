"""Values that the modules of this package share: an endpoint, the deadlines of a request, a client's counters. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..config import Secret
from .provider_table import Provider
from .sim_spec import SimSpec

KeyLookup = Callable[[str], Secret | None]
"""The name of an environment variable -> its secret, or None."""
EndpointKind = Literal["remote", "embedded", "sim"]
DeadlineName = Literal["first_content", "stall", "total"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go. For the kinds ``embedded`` and ``sim`` the address is empty until their server runs.

    ``model``: None means that it is chosen from the served models. ``simulated`` must be shown beside every figure.
    ``extra_body`` is added to each request. ``label`` is for the screen and contains no secret.
    """

    provider: Provider
    base_url: str
    api_key: Secret | None
    model: str | None
    simulated: bool
    label: str
    kind: EndpointKind = "remote"
    sim: SimSpec | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metered(self) -> bool:
        """Whether requests count against a quota: not those to a simulation or to a model on this machine."""
        return self.kind == "remote" and not self.simulated

    def at(self, base_url: str, **changes: Any) -> Endpoint:
        """This endpoint with the address of its running server (up to and including ``/v1``)."""
        return dataclasses.replace(self, base_url=base_url, **changes)


@dataclass(frozen=True, slots=True)
class RequestDeadlines:
    """Limits of one answer in seconds: the connection, the first content, a gap after it, and the whole answer."""

    connect_s: float = 3.0
    first_content_s: float = 4.0
    stall_s: float = 5.0
    total_s: float = 30.0

    def next(self, now: float, started: float, last: float, begun: bool) -> tuple[float, DeadlineName]:
        """The next deadline: seconds from ``now`` (0 or less: it has passed), and its name.

        ``started``: when the request was sent; ``last``: when the last chunk came; ``begun``: content has come.
        """
        total = started + self.total_s - now
        near: tuple[float, DeadlineName] = (
            (last + self.stall_s - now, "stall") if begun else (started + self.first_content_s - now, "first_content")
        )
        return near if near[0] <= total else (total, "total")


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts of one client. ``tokens_received``: completion tokens by the provider's count. ``tokens_estimated``:
    completion tokens of answers that ended without a count (cancelled or failed), so mostly of discarded requests."""

    requests: int = 0
    completed: int = 0
    cancelled: int = 0
    failed: int = 0
    tokens_received: int = 0
    tokens_estimated: int = 0
