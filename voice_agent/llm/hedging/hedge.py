"""A late first word is asked for a second time; the first answer is taken, the other request is closed.

:class:`HedgedLLM` is a LiveKit ``llm.LLM`` over one or two :class:`~.client.ChatLLM`. "The Tail at Scale" (Dean and
Barroso, CACM 56:2, 2013) sends the second request when the first has taken longer than the 95th percentile; when that
is here, and what it may cost, says :mod:`voice_agent.budget.hedge_policy`; :mod:`.race` runs one answer.

A tool is carried out by whoever reads this stream, and it is given the calls of one answer only: the other one's are
never read. So two requests that both call a tool run it once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import is_given

from ...budget.hedge_policy import HedgeBudget, LatencyHistory
from ...clock import SYSTEM, Clock
from ...config import DegradationConfig
from ..choice import Choice
from ..client import ChatLLM
from .breaker import Breaker
from .race import HedgedStream
from .trial import Trials


@dataclass(frozen=True, slots=True)
class HedgeCounters:
    """What was done. ``tokens`` are all (prompts and completions, known or estimated), ``extra_tokens`` those of second
    requests beyond what one request would have cost."""

    answers: int = 0
    hedged: int = 0
    won: int = 0
    refused: int = 0
    failed_over: int = 0
    passed_over: int = 0
    trials: int = 0
    tokens: int = 0
    extra_tokens: int = 0

    @property
    def extra_share(self) -> float:
        """Extra tokens as a share of what would have been used without."""
        needed = self.tokens - self.extra_tokens
        return self.extra_tokens / needed if needed else 0.0


class HedgedLLM(llm.LLM[Any]):
    """``primary`` answers; ``second`` is asked when it is late or fails (None: the primary again, when it is late).

    Both are closed with it. ``config`` has what is done and its bounds. :attr:`short_tokens` (a limit for each answer)
    and :attr:`second_first` (the other order) may be set at any time; they hold from the next request on.
    """

    def __init__(
        self, primary: ChatLLM, second: ChatLLM | None = None, *, config: DegradationConfig, clock: Clock = SYSTEM
    ) -> None:
        super().__init__()
        self.primary = primary
        self.second = second
        self.config = config
        self.clock = clock
        self.budget = HedgeBudget(config)
        self.short_tokens: int | None = None
        self.second_first = False
        self._paces = {id(model): LatencyHistory() for model in self._models}
        self._breakers = {id(model): Breaker.of(config, backs_off=second is not None) for model in self._models}
        self.trials = Trials(self.budget, clock)
        self._counters = HedgeCounters()

    @property
    def _models(self) -> list[ChatLLM]:
        return [self.primary] if self.second is None else [self.primary, self.second]

    @property
    def model(self) -> str:
        return self.primary.model

    @property
    def provider(self) -> str:
        return self.primary.provider

    @property
    def first(self) -> ChatLLM:
        """Who is asked first at present."""
        return self.second if self.second is not None and self.second_first else self.primary

    @property
    def other(self) -> ChatLLM | None:
        """Who is asked when that one is late; None: nobody. A model on this machine would only be twice as slow."""
        if self.second is not None:
            return self.primary if self.second_first else self.second
        return None if self.primary.endpoint.kind == "embedded" else self.primary

    def pace(self, model: ChatLLM | None = None) -> LatencyHistory:
        """How fast a model has been; by default the one that is asked first."""
        return self._paces[id(model or self.first)]

    def breaker(self, model: ChatLLM | None = None) -> Breaker:
        """A provider's circuit breaker; by default of the one that is asked first."""
        return self._breakers[id(model or self.first)]

    def snapshot(self) -> HedgeCounters:
        """Counts so far."""
        known = {"tokens": self.budget.tokens, "extra_tokens": self.budget.extra, "trials": self.trials.started}
        return dataclasses.replace(self._counters, **known)

    def count(self, **more: int) -> None:
        """Add to the counters."""
        self._counters = dataclasses.replace(
            self._counters, **{name: getattr(self._counters, name) + n for name, n in more.items()}
        )

    async def warm(self) -> Choice:
        """Choose both models and open connections. Raises ProviderError; what is wrong with the second is its own."""
        choice = await self.primary.warm()
        if self.second is not None:
            await self.second.warm()
        return choice

    async def _prewarm_impl(self) -> None:
        await self.warm()

    async def aclose(self) -> None:
        await super().aclose()
        await self.trials.aclose()
        for model in self._models:
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
        """One answer, of whichever request answers first. The rest as :meth:`.client.ChatLLM.chat`."""
        return HedgedStream(
            self,
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options,
            given={"parallel_tool_calls": parallel_tool_calls, "tool_choice": tool_choice},
            extra=dict(extra_kwargs) if is_given(extra_kwargs) else {},
        )
