"""What some providers need beside an address and a key: the official libraries that authenticate, and one translation.

``bedrock`` and ``vertex`` hand the ``openai`` package its own providers for AWS (botocore) and Google (google-auth);
``azure`` puts the key where Azure documents it; ``replicate`` translates chat completions into predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from ..endpoints import Endpoint

Wrap = Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport]


@dataclass(frozen=True, slots=True)
class Adapted:
    """How a client of one endpoint is made.

    ``provider``: the openai package's authentication in place of a key. ``headers`` go with each request (an
    ``openai.Omit`` takes one out), ``probe_headers`` with the pool's own. ``wrap``: put around the transport.
    """

    provider: Any = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    probe_headers: Mapping[str, str] = field(default_factory=dict)
    wrap: Wrap | None = None


def adapt(endpoint: Endpoint, *, credentials: Any = None) -> Adapted:
    """What ``endpoint`` needs. ``credentials``: botocore's or google-auth's, in place of those that they find.

    Raises ConfigError where an optional library is missing, saying how to install it.
    """
    row, key = endpoint.provider, endpoint.api_key
    if row.auth == "aws":
        from .bedrock import provider

        return Adapted(provider=provider(endpoint, credentials))
    if row.auth == "google" and not (key and not credentials):
        from .vertex import provider as google

        return Adapted(provider=google(endpoint, credentials))
    if row.auth == "api-key" and key:
        from .azure import headers

        return Adapted(headers=headers(key), probe_headers={"api-key": key.reveal()})
    bearer = {"Authorization": f"Bearer {key.reveal() if key else 'none'}"}
    if row.name == "replicate":
        from .replicate import ReplicateTransport

        return Adapted(probe_headers=bearer, wrap=ReplicateTransport)
    return Adapted(probe_headers=bearer)
