"""A LiveKit ``llm.LLM`` over the ``openai`` package, for any OpenAI-compatible endpoint.

No request is repeated silently: repeats of the ``openai`` package and of LiveKit are off. One exception, which is
counted: a request is sent once more if the endpoint refused an optional field (left out from then on), or closed an
idle connection before it answered.
"""

from __future__ import annotations

from typing import Any, cast

import httpx2
from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import is_given

from ..clock import SYSTEM, Clock
from ..config import LlmConfig
from ..meter import UsageMeter
from ..meter import current as current_meter
from .choice import Choice
from .memory.conversation_memory import ConversationMemory
from .memory.summary import Summaries, SummaryMode
from .memory.window import ContextWindow
from .provider_connection import ProviderConnection
from .stream import ChatStream
from .types import Counters, Endpoint, RequestDeadlines

# AgentSession cancels a preflight request when the text changes and starts the next: three may overlap for a moment.
WARM_CONNECTIONS = 3
CONTEXT_TOKENS = 6000
# Fewer for the embedded model: each token attends to all before it (9 ms a token after 100, 21 after 1,500), and what
# is read anew after the window was shortened must fit into the time in which a reply is spoken.
EMBEDDED_CONTEXT_TOKENS = 800


class ChatLLM(llm.LLM[Any]):
    """The model of one :class:`~voice_agent.llm.types.Endpoint` (its server must be running).

    :meth:`warm` connects and chooses the model; otherwise the first request does. All errors are
    :class:`~voice_agent.errors.ProviderError`. ``transport`` replaces the network (test doubles).
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
        summarise: SummaryMode = "off",
    ) -> None:
        super().__init__()
        self.connection = ProviderConnection(
            endpoint,
            deadlines=deadlines or RequestDeadlines(),
            clock=clock,
            warm_connections=warm_connections,
            max_completion_tokens=max_completion_tokens,
            temperature=temperature,
            transport=transport,
            meter=meter,
            credentials=credentials,
        )
        limit = min(context_tokens, EMBEDDED_CONTEXT_TOKENS) if endpoint.kind == "embedded" else context_tokens
        self.memory = ConversationMemory(
            self.connection, ContextWindow(limit), Summaries(self, self.connection, summarise)
        )

    @classmethod
    def from_config(cls, cfg: LlmConfig, endpoint: Endpoint, *, clock: Clock = SYSTEM) -> ChatLLM:
        """A client with the settings' deadlines, answer length, temperature and context."""
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
            summarise=cast(SummaryMode, cfg.summarise),
            meter=current_meter(),
            clock=clock,
        )

    @property
    def endpoint(self) -> Endpoint:
        return self.connection.endpoint

    @property
    def model(self) -> str:
        return self.connection.model

    @property
    def provider(self) -> str:
        return self.connection.provider

    @property
    def choice(self) -> Choice | None:
        """The model and the reason for it; None until :meth:`warm` or the first request."""
        return self.connection.choice

    @property
    def admitted(self) -> bool:
        """Whether the quota meter would let a request pass now."""
        return self.connection.account.admitted

    def snapshot(self) -> Counters:
        """The counts so far."""
        return self.connection.counters

    async def warm(self) -> Choice:
        """Choose the model from the served ones, open connections, and keep them open.

        Raises ProviderError for a wrong key, a model that is not served, or no connection, so that these appear at
        start and not in a turn.
        """
        return await self.connection.warm()

    async def _prewarm_impl(self) -> None:
        await self.warm()

    async def aclose(self) -> None:
        await super().aclose()
        await self.memory.aclose()
        await self.connection.aclose()

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
        """Request one answer. The request fields in ``extra_kwargs`` override ours.

        Of ``conn_options`` only a ``timeout`` shorter than our own limit for the first content is used.
        """
        extra: dict[str, Any] = {}
        if tools and is_given(tool_choice):
            extra["tool_choice"] = dict(tool_choice) if isinstance(tool_choice, dict) else tool_choice
        if tools and is_given(parallel_tool_calls):
            extra["parallel_tool_calls"] = parallel_tool_calls
        if is_given(extra_kwargs):
            extra.update(extra_kwargs)
        self.memory.give_way()
        return ChatStream(
            self,
            self.connection,
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options,
            extra=extra,
            memory=self.memory,
        )
