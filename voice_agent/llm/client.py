"""How they are asked: a LiveKit ``llm.LLM`` over the ``openai`` package, for any OpenAI-compatible endpoint.

No hidden repeats: the package's own are off (``max_retries=0``), LiveKit's too. One exception, which is counted: a
request is sent once more if the endpoint refused an optional field (then left out for good), or hung up on an idle
connection before it answered at all.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from livekit.agents import llm
from livekit.agents.inference.llm import drop_unsupported_params
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import is_given

from ..clock import SYSTEM, Clock
from ..config import LlmConfig
from ..errors import ProviderAuthError, ProviderError, ProviderModelError
from . import errors
from .pool import WarmPool
from .providers import Choice, Endpoint, check_model, choose_model, reasoning_params
from .stream import ChatStream, Deadlines

# AgentSession cancels a speculation when the text changes and starts the next: three may be open for a moment.
WARM_CONNECTIONS = 3
# Longer than any pause in a conversation; servers close theirs earlier, which the pool notices.
_KEEPALIVE_S = 600.0
# Request fields that some endpoint refuses; without them it answers all the same.
_OPTIONAL = ("stream_options", "reasoning_effort", "temperature", "max_completion_tokens", "max_tokens")
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


class ChatLLM(llm.LLM[Any]):
    """The model of one :class:`~voice_agent.llm.providers.Endpoint` (its server must run already).

    :meth:`warm` connects and chooses the model; without it, the first request does. All errors are
    :class:`~voice_agent.errors.ProviderError`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        deadlines: Deadlines | None = None,
        max_completion_tokens: int | None = 220,
        temperature: float | None = 0.6,
        warm_connections: int = WARM_CONNECTIONS,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.deadlines = deadlines or Deadlines()
        self.clock = clock
        self._max_completion_tokens = max_completion_tokens
        self._temperature = temperature
        self._choice: Choice | None = None
        self._choosing = asyncio.Lock()
        self._refused: set[str] = set()
        self._counters = Counters()
        key = endpoint.api_key.reveal() if endpoint.api_key else "none"
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=self.deadlines.connect_s, pool=self.deadlines.connect_s),
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=_KEEPALIVE_S),
            follow_redirects=True,
        )
        self.client = openai.AsyncOpenAI(
            api_key=key, base_url=endpoint.base_url, max_retries=0, http_client=self._http, timeout=self._http.timeout
        )
        if endpoint.provider.name != "openai":
            # The package fills these from the environment; they are no other provider's business.
            self.client.organization = self.client.project = None
        self.pool = WarmPool(
            self._http, f"{endpoint.base_url}/models", {"Authorization": f"Bearer {key}"}, warm_connections
        )

    @classmethod
    def from_config(cls, cfg: LlmConfig, endpoint: Endpoint, *, clock: Clock = SYSTEM) -> ChatLLM:
        """With the settings' deadlines, answer length and temperature."""
        deadlines = Deadlines(
            connect_s=cfg.connect_timeout_s, first_content_s=cfg.first_content_timeout_s, total_s=cfg.total_timeout_s
        )
        return cls(
            endpoint,
            deadlines=deadlines,
            max_completion_tokens=cfg.max_completion_tokens,
            temperature=cfg.temperature,
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
        return ChatStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options, extra=extra)

    # --- for ChatStream -------------------------------------------------------------------------------------------

    def asked(self) -> errors.Asked:
        host = urlsplit(self.endpoint.base_url).netloc
        row = self.endpoint.provider
        return errors.Asked(row.name, host, self.model, row.key_env, self.endpoint.api_key)

    def count(self, **more: int) -> None:
        """Add to the counters."""
        self._counters = dataclasses.replace(
            self._counters, **{name: getattr(self._counters, name) + n for name, n in more.items()}
        )

    async def choose(self) -> Choice:
        """The model: named and checked, or chosen, on the first call. Raises ProviderError."""
        async with self._choosing:
            if self._choice is None:
                served = await self._served()
                row, model = self.endpoint.provider, self.endpoint.model
                if model is not None:
                    self._choice = check_model(model, served, row)
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
            error: ProviderError = errors.late("list of models", allowed_s, "llm.first_content_timeout_s", asked)
        except openai.APIStatusError as status_error:
            if status_error.status_code in (404, 405, 501):
                return []
            error = errors.explain(status_error, asked, limits.connect_s)
        except (openai.OpenAIError, httpx2.HTTPError, ValueError) as other:
            error = errors.explain(other, asked, limits.connect_s)
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
        if self._max_completion_tokens is not None:
            name = self.endpoint.provider.max_tokens_field
            fields[_OTHER_LIMIT[name] if name in self._refused else name] = self._max_completion_tokens
        fields.update(self.endpoint.extra_body)
        fields.update(extra)
        fields = drop_unsupported_params(self.model, fields, tools=tools)
        kept = {name: value for name, value in fields.items() if name not in self._refused}
        if tools:
            kept["tools"] = tools
        return {"model": self.model, "messages": messages, "stream": True, **kept}

    def refuse(self, error: openai.APIStatusError, body: Mapping[str, Any]) -> bool:
        """Remember the optional field that a 400 is about. False: it is about something else."""
        if error.status_code not in (400, 422):
            return False
        name = errors.refused_field(error.body, [field for field in _OPTIONAL if field in body])
        if name is None:
            return False
        self._refused.add(name)
        return True
