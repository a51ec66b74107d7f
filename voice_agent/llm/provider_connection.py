"""The connection to one endpoint: HTTP client, warm pool, choice of the model, request builder, counters and quota.

Repeats of the ``openai`` package are off (``max_retries=0``). :mod:`.stream` sends the requests.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from ..clock import Clock
from ..errors import ProviderAuthError, ProviderError, ProviderModelError
from ..meter import UsageMeter
from . import failures
from .adapters import Adapted, adapt
from .choice import Choice, check_model, choose_model
from .pool import WarmPool
from .quota_account import QuotaAccount
from .request_builder import RequestBuilder
from .types import Counters, Endpoint, RequestDeadlines

# Longer than any pause in a conversation. Servers close their side earlier, which the pool notices.
_KEEPALIVE_S = 600.0
_CREDENTIALS = {
    "aws": "AWS_BEARER_TOKEN_BEDROCK, or the AWS credentials and AWS_REGION",
    "google": "Google's application default credentials (gcloud auth application-default login)",
}


@functools.cache
def _tls() -> ssl.SSLContext:
    """One TLS context for the process: reading the certificates takes 30 to 100 ms of the event loop.

    Threads may share it; each connection requests the same protocols (HTTP/1.1).
    """
    return httpx2.create_ssl_context()


class ProviderConnection:
    """The state that all requests of one client share. ``credentials``: see :func:`.adapters.adapt`.

    ``account`` counts the requests against the provider's quota. Raises ConfigError if an optional library is missing.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        deadlines: RequestDeadlines,
        clock: Clock,
        warm_connections: int,
        max_completion_tokens: int | None,
        temperature: float | None,
        transport: httpx2.AsyncBaseTransport | None = None,
        meter: UsageMeter | None = None,
        credentials: Any = None,
    ) -> None:
        adapted = adapt(endpoint, credentials=credentials)
        self.endpoint = endpoint
        self.deadlines = deadlines
        self.clock = clock
        self.choice: Choice | None = None
        self.counters = Counters()
        row = endpoint.provider
        self.account = QuotaAccount(meter if endpoint.metered else None, row.name, row.rate_headers)
        self.requests = RequestBuilder(
            endpoint, adapted.headers, max_completion_tokens=max_completion_tokens, temperature=temperature
        )
        self._choosing = asyncio.Lock()
        http = _http_client(adapted, deadlines, transport)
        self.client = _openai_client(endpoint, adapted, http)
        self.pool = WarmPool(http, f"{endpoint.base_url}/models", dict(adapted.probe_headers), warm_connections)

    @property
    def model(self) -> str:
        """The chosen model, or the configured one, or ``unknown``."""
        return self.choice.model if self.choice else self.endpoint.model or "unknown"

    @property
    def provider(self) -> str:
        return self.endpoint.provider.name

    def target(self) -> failures.RequestTarget:
        """What error messages say about this endpoint."""
        row, key = self.endpoint.provider, self.endpoint.api_key
        credentials = None if key else _CREDENTIALS.get(row.auth)
        host = urlsplit(self.endpoint.base_url).netloc
        return failures.RequestTarget(row.name, host, self.model, row.key_env, key, credentials)

    def count(self, **more: int) -> None:
        """Add to the counters."""
        sums = {name: getattr(self.counters, name) + n for name, n in more.items()}
        self.counters = dataclasses.replace(self.counters, **sums)

    async def warm(self) -> Choice:
        """Choose the model and open connections; keeps them open from then on. Raises ProviderError."""
        choice = await self.choose()
        await self.pool.warm()
        return choice

    async def choose(self) -> Choice:
        """The model, on the first call chosen from the served ones, or checked against them. Raises ProviderError."""
        async with self._choosing:
            if self.choice is None:
                row, model = self.endpoint.provider, self.endpoint.model
                served = await self._served() if row.lists_models else []
                if model is not None:
                    self.choice = check_model(model, served, row)
                elif not served and row.default_model is not None:
                    reason = f"{row.name} has no list of models; this is our default there"
                    self.choice = Choice(row.default_model, reason)
                elif not served:
                    raise ProviderModelError(f"{row.name} does not say which models it serves; name one with llm.model")
                else:
                    self.choice = choose_model(served, row)
        return self.choice

    async def _served(self) -> list[str]:
        """The model ids of ``/models``. Empty if the endpoint has no list, or if it fails and a model is configured."""
        target, limits = self.target(), self.deadlines
        allowed_s = limits.connect_s + limits.first_content_s
        try:
            async with asyncio.timeout(allowed_s):
                body = await self.client.get("/models", cast_to=object)
        except TimeoutError:
            error: ProviderError = failures.late("list of models", allowed_s, "llm.first_content_timeout_s", target)
        except openai.APIStatusError as status_error:
            if status_error.status_code in (404, 405, 501):
                return []
            error = failures.explain(status_error, target, limits.connect_s)
        except (openai.OpenAIError, httpx2.HTTPError, ValueError) as other:
            error = failures.explain(other, target, limits.connect_s)
        else:
            rows = body.get("data") if isinstance(body, Mapping) else body
            rows = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
            return [str(row["id"]) for row in rows if row.get("id") and row.get("active") is not False]
        if self.endpoint.model is not None and not isinstance(error, ProviderAuthError):
            return []
        raise error from None

    async def aclose(self) -> None:
        """Close the pool and the client."""
        await self.pool.aclose()
        await self.client.close()


def _http_client(
    adapted: Adapted, deadlines: RequestDeadlines, transport: httpx2.AsyncBaseTransport | None
) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=_KEEPALIVE_S)
    if adapted.wrap is not None:
        transport = adapted.wrap(transport or httpx2.AsyncHTTPTransport(verify=_tls(), limits=limits))
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(None, connect=deadlines.connect_s, pool=deadlines.connect_s),
        limits=limits,
        follow_redirects=True,
        transport=transport,
        verify=_tls(),
    )


def _openai_client(endpoint: Endpoint, adapted: Adapted, http: httpx2.AsyncClient) -> openai.AsyncOpenAI:
    shared: dict[str, Any] = {"max_retries": 0, "http_client": http, "timeout": http.timeout}
    if adapted.provider is not None:
        return openai.AsyncOpenAI(provider=adapted.provider, **shared)
    key = endpoint.api_key.reveal() if endpoint.api_key else "none"
    client = openai.AsyncOpenAI(api_key=key, base_url=endpoint.base_url, **shared)
    if endpoint.provider.name != "openai":
        # The package reads these from the environment; other providers must not get them.
        client.organization = client.project = None
    return client
