"""What some providers need besides an address and a key: the vendors' authentication, and one translated API.

``bedrock`` and ``vertex`` give the ``openai`` package its own providers for AWS (botocore) and Google (google-auth).
``azure`` sends the key in Azure's header. ``replicate`` translates chat completions into predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from ..types import Endpoint
from . import azure, bedrock, vertex
from .replicate import ReplicateTransport

Wrap = Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport]


@dataclass(frozen=True, slots=True)
class Adapted:
    """How the client of one endpoint is made.

    ``provider``: authentication of the openai package in place of a key. ``headers`` go with each request (an
    ``openai.Omit`` removes one), ``probe_headers`` with the pool's own requests. ``wrap`` wraps the transport.
    """

    provider: Any = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    probe_headers: Mapping[str, str] = field(default_factory=dict)
    wrap: Wrap | None = None


def adapt(endpoint: Endpoint, *, credentials: Any = None) -> Adapted:
    """What ``endpoint`` needs. ``credentials``: botocore's or google-auth's, instead of those that these find.

    Raises ConfigError if an optional library is missing; the message says how to install it.
    """
    row, key = endpoint.provider, endpoint.api_key
    if row.auth == "aws":
        return Adapted(provider=bedrock.provider(endpoint, credentials))
    if row.auth == "google" and not (key and not credentials):
        return Adapted(provider=vertex.provider(endpoint, credentials))
    if row.auth == "api-key" and key:
        return Adapted(headers=azure.headers(key), probe_headers={"api-key": key.reveal()})
    bearer = {"Authorization": f"Bearer {key.reveal() if key else 'none'}"}
    if row.name == "replicate":
        return Adapted(probe_headers=bearer, wrap=ReplicateTransport)
    return Adapted(probe_headers=bearer)
