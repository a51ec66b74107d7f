"""What the answers of one hedged client share: the two models, their latencies and breakers, budget and counters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ...budget.hedge_policy import HedgeBudget, LatencyHistory
from ...clock import Clock
from ...config import DegradationConfig
from ..client import ChatLLM
from .breaker import Breaker
from .trial import Trials


@dataclass(frozen=True, slots=True)
class HedgeCounters:
    """Counts of a hedged client. ``tokens``: prompts and completions of all requests, by count or estimate;
    ``extra_tokens``: those of requests whose answer was not used."""

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
        """Extra tokens as a share of the tokens that would have been used without second requests."""
        needed = self.tokens - self.extra_tokens
        return self.extra_tokens / needed if needed else 0.0


class HedgedModels:
    """``primary``, ``second`` (None: there is none) and the state of their requests.

    :attr:`short_tokens` (a limit for each answer) and :attr:`second_first` (the reversed order) may be set at any time
    and apply from the next request on.
    """

    def __init__(self, primary: ChatLLM, second: ChatLLM | None, config: DegradationConfig, clock: Clock) -> None:
        self.primary = primary
        self.second = second
        self.config = config
        self.clock = clock
        self.budget = HedgeBudget(config)
        self.trials = Trials(self.budget, clock)
        self.short_tokens: int | None = None
        self.second_first = False
        self._latencies = {id(model): LatencyHistory() for model in self.all}
        self._breakers = {id(model): Breaker.of(config, backs_off=second is not None) for model in self.all}
        self._counters = HedgeCounters()

    @property
    def all(self) -> list[ChatLLM]:
        """One or two models."""
        return [self.primary] if self.second is None else [self.primary, self.second]

    @property
    def first(self) -> ChatLLM:
        """The model that is asked first at present."""
        return self.second if self.second is not None and self.second_first else self.primary

    @property
    def other(self) -> ChatLLM | None:
        """The model that is asked when the first is late; None: none. A model on this machine is never asked twice: it
        would only take twice as long."""
        if self.second is not None:
            return self.primary if self.second_first else self.second
        return None if self.primary.endpoint.kind == "embedded" else self.primary

    def latencies(self, model: ChatLLM) -> LatencyHistory:
        """The times to the first content of ``model``."""
        return self._latencies[id(model)]

    def breaker(self, model: ChatLLM) -> Breaker:
        """The circuit breaker of the provider of ``model``."""
        return self._breakers[id(model)]

    def snapshot(self) -> HedgeCounters:
        """The counts so far."""
        return dataclasses.replace(
            self._counters,
            tokens=self.budget.tokens,
            extra_tokens=self.budget.extra,
            trials=self.trials.started,
        )

    def count(self, **more: int) -> None:
        """Add to the counters."""
        sums = {name: getattr(self._counters, name) + n for name, n in more.items()}
        self._counters = dataclasses.replace(self._counters, **sums)
