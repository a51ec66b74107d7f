"""A second request when the first content is late; the answer that comes first is used, the other request is closed.

:class:`HedgedLLM` is a LiveKit ``llm.LLM`` over one or two :class:`~voice_agent.llm.client.ChatLLM`. "The Tail at
Scale" (Dean and Barroso, CACM 56:2, 2013) sends the second request after the 95th percentile of the latencies. The time
and the cost allowed here are in :mod:`voice_agent.budget.hedge_policy`; :mod:`.race` runs one answer.

Tools are called by the reader of this stream, which gets the tool calls of one answer only. So two requests that both
call a tool run it once.
"""

from __future__ import annotations

from typing import Any

from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import is_given

from ...clock import SYSTEM, Clock
from ...config import DegradationConfig
from ..choice import Choice
from ..client import ChatLLM
from .hedged_models import HedgeCounters, HedgedModels
from .race import HedgedStream


class HedgedLLM(llm.LLM[Any]):
    """``primary`` answers; ``second`` is asked when it is late or fails (None: the primary again, when it is late).

    Both are closed with it. ``config``: what is done, and its bounds. :attr:`models` holds the state.
    """

    def __init__(
        self, primary: ChatLLM, second: ChatLLM | None = None, *, config: DegradationConfig, clock: Clock = SYSTEM
    ) -> None:
        super().__init__()
        self.models = HedgedModels(primary, second, config, clock)

    @property
    def model(self) -> str:
        return self.models.primary.model

    @property
    def provider(self) -> str:
        return self.models.primary.provider

    def snapshot(self) -> HedgeCounters:
        """The counts so far."""
        return self.models.snapshot()

    async def warm(self) -> Choice:
        """Choose both models and open connections; returns the primary's. Raises ProviderError."""
        choice = await self.models.primary.warm()
        if self.models.second is not None:
            await self.models.second.warm()
        return choice

    async def _prewarm_impl(self) -> None:
        await self.warm()

    async def aclose(self) -> None:
        await super().aclose()
        await self.models.trials.aclose()
        for model in self.models.all:
            await model.aclose()

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> HedgedStream:
        """Request one answer. The arguments are those of :meth:`.ChatLLM.chat`."""
        return HedgedStream(
            self,
            self.models,
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options,
            given={"parallel_tool_calls": parallel_tool_calls, "tool_choice": tool_choice},
            extra=dict(extra_kwargs) if is_given(extra_kwargs) else {},
        )
