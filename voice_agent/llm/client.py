"""How they are asked: a LiveKit ``llm.LLM`` over the ``openai`` package, for any OpenAI-compatible endpoint.

No hidden repeats: the package's own are off (``max_retries=0``), LiveKit's too. One exception, which is counted: a
request is sent once more if the endpoint refused an optional field (then left out for good), or hung up on an idle
connection before it answered at all.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gzip
import json
import logging
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
import openai
from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import is_given

from ..clock import SYSTEM, Clock
from ..config import LlmConfig
from ..errors import ProviderAuthError, ProviderError, ProviderModelError, RateLimitedError
from ..livekit_compat.inference import accepted_fields
from ..meter import UsageMeter
from ..meter import current as current_meter
from . import failures
from .adapters import adapt
from .choice import Choice, check_model, choose_model, reasoning_params, reasoning_room
from .endpoints import Endpoint
from .memory.summary import Summaries, When
from .memory.window import ContextWindow
from .pool import WarmPool
from .stream import ChatStream, RequestDeadlines

logger = logging.getLogger(__name__)

# AgentSession cancels a speculation when the text changes and starts the next: three may be open for a moment.
WARM_CONNECTIONS = 3
# Longer than any pause in a conversation; servers close theirs earlier, which the pool notices.
_KEEPALIVE_S = 600.0
# Request fields that some endpoint refuses; without them it answers all the same.
_OPTIONAL = (
    "stream_options",
    "reasoning_effort",
    "temperature",
    "prompt_cache_key",
    "max_completion_tokens",
    "max_tokens",
)
_GZIP = "gzip"  # among what an endpoint has refused
# A connection that has been idle may send about ten segments of 1,460 bytes before it waits for the other side
# (RFC 6928, RFC 5681 section 4.1): only above that does a smaller body arrive a round trip earlier.
GZIP_FROM_BYTES = 14_000
CONTEXT_TOKENS = 6000
# Less for the model on this machine: each token it reads looks at all before it (9 ms after 100, 21 after 1,500), and
# what is read anew when the window is shortened has to fit into the time that a reply is spoken.
EMBEDDED_CONTEXT_TOKENS = 800
_OTHER_LIMIT = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}


@dataclass(frozen=True, slots=True)
class Counters:
    """What a client has done. ``tokens_received``: completion tokens by the provider's own count;
    ``tokens_estimated``: of answers that ended without one (cancelled, failed), so what speculation wasted."""

    requests: int = 0
    completed: int = 0
    cancelled: int = 0
    failed: int = 0
    tokens_received: int = 0
    tokens_estimated: int = 0


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for the process: reading the certificates takes 30 to 100 ms, on the loop of the call that begins.

    It may be shared by threads; each connection asks it for the same protocols (HTTP/1.1).
    """
    return httpx2.create_ssl_context()


class ChatLLM(llm.LLM[Any]):
    """The model of one :class:`~voice_agent.llm.endpoints.Endpoint` (its server must run already).

    :meth:`warm` connects and chooses the model; without it, the first request does. All errors are
    :class:`~voice_agent.errors.ProviderError`. ``transport``: in place of the network (a double's).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        deadlines: RequestDeadlines | None = None,
        max_completion_tokens: int | None = 220,
        temperature: float | None = 0.6,
        warm_connections: int = WARM_CONNECTIONS,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Clock = SYSTEM,
        context_tokens: int = CONTEXT_TOKENS,
        meter: UsageMeter | None = None,
        credentials: Any = None,
        summarise: When = "off",
    ) -> None:
        super().__init__()
        adapted = adapt(endpoint, credentials=credentials)
        self.meter = meter
        self._counts = endpoint.kind == "remote" and not endpoint.simulated
        self._headers = dict(adapted.headers)
        self.window = ContextWindow(
            min(context_tokens, EMBEDDED_CONTEXT_TOKENS) if endpoint.kind == "embedded" else context_tokens
        )
        self.summaries = Summaries(self, summarise)
        self._cache_key = f"voice-{uuid.uuid4().hex[:16]}"
        self._reading: asyncio.Task[None] | None = None
        self.endpoint = endpoint
        self.deadlines = deadlines or RequestDeadlines()
        self.clock = clock
        self._max_completion_tokens = max_completion_tokens
        self._temperature = temperature
        self._choice: Choice | None = None
        self._choosing = asyncio.Lock()
        self._refused: set[str] = set()
        self._counters = Counters()
        key = endpoint.api_key.reveal() if endpoint.api_key else "none"
        limits = httpx2.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=_KEEPALIVE_S)
        if adapted.wrap is not None:
            transport = adapted.wrap(transport or httpx2.AsyncHTTPTransport(verify=_tls(), limits=limits))
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=self.deadlines.connect_s, pool=self.deadlines.connect_s),
            limits=limits,
            follow_redirects=True,
            transport=transport,
            verify=_tls(),
        )
        shared: dict[str, Any] = {"max_retries": 0, "http_client": self._http, "timeout": self._http.timeout}
        if adapted.provider is not None:
            self.client = openai.AsyncOpenAI(provider=adapted.provider, **shared)
        else:
            self.client = openai.AsyncOpenAI(api_key=key, base_url=endpoint.base_url, **shared)
        if endpoint.provider.name != "openai" and adapted.provider is None:
            # The package fills these from the environment; they are no other provider's business.
            self.client.organization = self.client.project = None
        self.pool = WarmPool(self._http, f"{endpoint.base_url}/models", dict(adapted.probe_headers), warm_connections)

    @classmethod
    def from_config(cls, cfg: LlmConfig, endpoint: Endpoint, *, clock: Clock = SYSTEM) -> ChatLLM:
        """With the settings' deadlines, answer length and temperature."""
        deadlines = RequestDeadlines(
            connect_s=cfg.connect_timeout_s,
            first_content_s=cfg.first_content_timeout_s,
            stall_s=cfg.stall_timeout_s,
            total_s=cfg.total_timeout_s,
        )
        return cls(
            endpoint,
            deadlines=deadlines,
            max_completion_tokens=cfg.max_completion_tokens,
            temperature=cfg.temperature,
            context_tokens=cfg.context_tokens,
            summarise=cast(When, cfg.summarise),
            meter=current_meter(),
            clock=clock,
        )

    @property
    def model(self) -> str:
        return self._choice.model if self._choice else self.endpoint.model or "unknown"

    @property
    def provider(self) -> str:
        return self.endpoint.provider.name

    @property
    def choice(self) -> Choice | None:
        """The model and why; None until :meth:`warm` or the first request."""
        return self._choice

    def snapshot(self) -> Counters:
        """Counts so far."""
        return self._counters

    async def warm(self) -> Choice:
        """Choose the model from what is served, and open connections; keeps them open from then on.

        Raises ProviderError (a wrong key, a model that is not served, no connection): better now than in a turn.
        """
        choice = await self.choose()
        await self.pool.warm()
        return choice

    async def _prewarm_impl(self) -> None:
        await self.warm()

    async def aclose(self) -> None:
        await super().aclose()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.pool.aclose()
        await self.client.close()

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> ChatStream:
        """One answer. ``extra_kwargs`` are request fields that win over ours.

        Of ``conn_options`` only a ``timeout`` shorter than our own limit for the first content counts.
        """
        extra: dict[str, Any] = {}
        if tools and is_given(tool_choice):
            extra["tool_choice"] = dict(tool_choice) if isinstance(tool_choice, dict) else tool_choice
        if tools and is_given(parallel_tool_calls):
            extra["parallel_tool_calls"] = parallel_tool_calls
        if is_given(extra_kwargs):
            extra.update(extra_kwargs)
        if self._reading is not None:
            self._reading.cancel()  # what it has read stays in the cache; a summary is asked for again later
        return ChatStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options, extra=extra)

    # --- for ChatStream -------------------------------------------------------------------------------------------

    def asked(self) -> failures.RequestTarget:
        host = urlsplit(self.endpoint.base_url).netloc
        row = self.endpoint.provider
        found = {
            "aws": "AWS_BEARER_TOKEN_BEDROCK, or the AWS credentials and AWS_REGION",
            "google": "Google's application default credentials (gcloud auth application-default login)",
        }.get("bearer" if self.endpoint.api_key else row.auth)
        return failures.RequestTarget(row.name, host, self.model, row.key_env, self.endpoint.api_key, found)

    def count(self, **more: int) -> None:
        """Add to the counters."""
        self._counters = dataclasses.replace(
            self._counters, **{name: getattr(self._counters, name) + n for name, n in more.items()}
        )

    async def choose(self) -> Choice:
        """The model: named and checked, or chosen, on the first call. Raises ProviderError."""
        async with self._choosing:
            if self._choice is None:
                row, model = self.endpoint.provider, self.endpoint.model
                served = await self._served() if row.lists_models else []
                if model is not None:
                    self._choice = check_model(model, served, row)
                elif not served and row.default_model is not None:
                    self._choice = Choice(
                        row.default_model, f"{row.name} has no list of models; this is our default there"
                    )
                elif not served:
                    raise ProviderModelError(f"{row.name} does not say which models it serves; name one with llm.model")
                else:
                    self._choice = choose_model(served, row)
        return self._choice

    async def _served(self) -> list[str]:
        """Model ids from ``/models``; empty if the endpoint has no such list (or, with a model named, cannot say)."""
        asked, limits = self.asked(), self.deadlines
        allowed_s = limits.connect_s + limits.first_content_s
        try:
            async with asyncio.timeout(allowed_s):
                body = await self.client.get("/models", cast_to=object)
        except TimeoutError:
            error: ProviderError = failures.late("list of models", allowed_s, "llm.first_content_timeout_s", asked)
        except openai.APIStatusError as status_error:
            if status_error.status_code in (404, 405, 501):
                return []
            error = failures.explain(status_error, asked, limits.connect_s)
        except (openai.OpenAIError, httpx2.HTTPError, ValueError) as other:
            error = failures.explain(other, asked, limits.connect_s)
        else:
            rows = body.get("data") if isinstance(body, Mapping) else body
            rows = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
            return [str(row["id"]) for row in rows if row.get("id") and row.get("active") is not False]
        if self.endpoint.model is not None and not isinstance(error, ProviderAuthError):
            return []
        raise error from None

    def body(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The request, without fields that this endpoint has refused before."""
        fields: dict[str, Any] = {"stream_options": {"include_usage": True}, **reasoning_params(self.model)}
        if self._temperature is not None:
            fields["temperature"] = self._temperature
        row = self.endpoint.provider
        if self._max_completion_tokens is not None:
            name, room = row.max_tokens_field, reasoning_room(self.model)
            fields[_OTHER_LIMIT[name] if name in self._refused else name] = self._max_completion_tokens + room
        if row.cache_key:
            fields["prompt_cache_key"] = self._cache_key
        fields.update(self.endpoint.extra_body)
        fields.update(extra)
        fields = accepted_fields(self.model, fields, tools)
        never = {*self._refused, *row.refuses}
        kept = {name: value for name, value in fields.items() if name not in never}
        if tools:
            kept["tools"] = tools
        return {"model": self.model, "messages": messages, "stream": True, **kept}

    def encode(self, body: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """The request's bytes and headers: compressed where the endpoint takes that and it saves a round trip."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", **self._headers}
        if self.endpoint.provider.gzip and len(content) >= GZIP_FROM_BYTES and _GZIP not in self._refused:
            content = gzip.compress(content, compresslevel=1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return content, headers

    def admit(self) -> None:
        """Raise RateLimitedError if the meter says that this provider is used up and must not be asked."""
        if self.meter is not None and self._counts:
            self.meter.admit(self.provider)

    @property
    def admitted(self) -> bool:
        """Whether :meth:`admit` would let a request pass now."""
        try:
            self.admit()
        except RateLimitedError:
            return False
        return True

    def said(self, headers: Mapping[str, str]) -> None:
        """Hand an answer's rate headers to the meter."""
        if self.meter is not None and self._counts:
            self.meter.said(self.provider, headers, self.endpoint.provider.rate_headers)

    def metered(self, **used: int) -> None:
        """Count for the meter; nothing simulated or on this machine is counted."""
        if self.meter is not None and self._counts:
            self.meter.used(self.provider, self.model, **used)

    def tidy(self, ctx: llm.ChatContext) -> None:
        """After an answer, while it is spoken: drop the oldest turns now rather than in the next turn's way.

        If so configured, a summary of them is asked for first. Where the model runs on this machine, it also reads the
        new beginning now (7 ms a token).
        """
        if not (old := self.window.due(ctx)):
            return
        if self.summaries.wanted:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._summarise(ctx, old), name="llm.window.summary")
            return
        view = self.window.replace(ctx, old)
        if self.endpoint.kind == "embedded":
            self._reading = asyncio.create_task(self._read(view), name="llm.window.read")

    async def _summarise(self, ctx: llm.ChatContext, old: Sequence[llm.ChatItem]) -> None:
        made = await self.summaries.make(self.window.said_before(ctx), old)
        view = self.window.replace(ctx, old, made)
        if self.endpoint.kind == "embedded":
            await self._read(view)

    async def tidied(self) -> None:
        """Return when nothing is shortened or read ahead any more (for tests; a turn does not wait for it)."""
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, view: llm.ChatContext) -> None:
        messages, _ = view.to_provider_format(format="openai")
        body = {**self.endpoint.extra_body, "model": self.model, "messages": messages, "max_tokens": 1}
        # Again if the server hung up: llama.cpp closes a connection after a hundred requests, and the turn that finds
        # nothing read ahead waits for all of it. Twice, since the pool may hold more than one that is closed.
        for last in (False, False, True):
            try:
                await self.client.post("/chat/completions", cast_to=object, body=body)
                return
            except (openai.OpenAIError, httpx2.HTTPError) as error:
                if last or not isinstance(error, openai.APIConnectionError):
                    logger.debug("the shortened conversation was not read ahead: %s", type(error).__name__)
                    return

    def refuse(self, error: openai.APIStatusError, body: Mapping[str, Any], *, compressed: bool = False) -> bool:
        """Remember the optional field that a 400 is about. False: it is about something else."""
        if compressed and error.status_code in (400, 415):
            self._refused.add(_GZIP)
            return True
        if error.status_code not in (400, 422):
            return False
        name = failures.refused_field(error.body, [field for field in _OPTIONAL if field in body])
        if name is None:
            return False
        self._refused.add(name)
        return True
