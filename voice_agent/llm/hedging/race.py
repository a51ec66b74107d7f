"""One answer of :class:`~.hedge.HedgedLLM`: which models are asked and when, and whose first content is used."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Any

from livekit.agents import llm
from livekit.agents.types import NOT_GIVEN, APIConnectOptions

from ... import trace
from ...budget.hedge_policy import VERY_LATE, soonest_of
from ...errors import DeadlineError, ProviderError, ProviderUnavailableError
from ...livekit_compat.streams import LlmStream
from .. import failures
from ..choice import reasoning_room
from ..client import ChatLLM
from .attempt import Attempt, AttemptTrace
from .hedged_models import HedgedModels

_SOON_S = 0.001  # a timer may fire this much early


class HedgedStream(LlmStream):
    """One answer, as LiveKit reads it. Closing it closes every request that is open."""

    def __init__(
        self,
        owner: llm.LLM[Any],
        models: HedgedModels,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        given: dict[str, Any],
        extra: dict[str, Any],
    ) -> None:
        self._models = models
        self._given = given
        self._extra = extra
        self._attempts: list[Attempt] = []
        self._outer = trace.current()
        self._began = models.clock.now()
        self._hedge_at: float | None = None
        self._taken: Attempt | None = None
        self._closing: set[asyncio.Task[None]] = set()
        if self._outer is not None:
            self._outer.rest_s = self.rest_s
        self._options = dataclasses.replace(conn_options, max_retry=0)
        super().__init__(owner, chat_ctx=chat_ctx, tools=tools, conn_options=self._options)

    def rest_s(self) -> float | None:
        """The least time to the first content, with 90 % probability; 0 once it has come, None if unknown."""
        if self._taken is not None:
            return 0.0
        now, models = self._models.clock.now(), self._models
        rests: list[float | None] = [
            models.latencies(a.model).rest_s(now - a.requested) for a in self._attempts if not a.failed
        ]
        if self._hedge_at is not None and models.other is not None:
            soonest = models.latencies(models.other).soonest_s()
            rests.append(None if soonest is None else max(0.0, self._hedge_at - now) + soonest)
        return soonest_of(rests)

    async def _run(self) -> None:
        self._models.count(answers=1)
        try:
            taken = await self._race()
            for chunk in taken.held:
                self.emit(chunk)
            self._close_others(taken)
            try:
                async for chunk in taken.stream:
                    self.emit(chunk)
            except ProviderError:
                self._models.breaker(taken.model).failed(self._models.clock.now())
                raise
        finally:
            for attempt in self._attempts:
                self._close(attempt)
            await asyncio.gather(*self._closing, return_exceptions=True)
            self._account()

    # --- the race -----------------------------------------------------------------------------------------------------

    async def _race(self) -> Attempt:
        """The attempt whose content comes first. Raises ProviderError if all fail, or none has content in time."""
        models, clock = self._models, self._models.clock
        first, other = self._who()
        self._ask(first)
        give_up_ms = models.config.give_up_ms
        very_late = False
        give_up_at = None if give_up_ms is None else self._began + give_up_ms / 1000
        while True:
            now = clock.now()
            if give_up_at is not None and now >= give_up_at - _SOON_S:
                assert give_up_ms is not None
                self._note("gave_up", {"after_ms": round(give_up_ms)})
                raise failures.late(
                    "first word", give_up_ms / 1000, "degradation.give_up_ms", first.connection.target()
                )
            if self._hedge_at is not None and now >= self._hedge_at - _SOON_S:
                late_s, self._hedge_at = self._hedge_at - self._began, None
                if other is not None and self._may_hedge(other, now, very_late=very_late):
                    self._hedge(other, now)
                elif not very_late:
                    self._hedge_at, very_late = self._began + VERY_LATE * late_s, True
            due = [at for at in (self._hedge_at, give_up_at) if at is not None]
            waiting = [a.reading for a in self._attempts if a.reading is not None and not a.failed]
            await asyncio.wait(
                waiting,
                timeout=max(0.0, min(due) - now) if due else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if (taken := self._first_of(other)) is not None:
                return taken

    def _first_of(self, other: ChatLLM | None) -> Attempt | None:
        """The attempt that has content, or None: handles failures, and asks the other model after the first one failed.

        Raises the first attempt's error when all attempts have failed.
        """
        models, now = self._models, self._models.clock.now()
        for attempt in self._attempts:
            assert attempt.reading is not None
            if attempt.failed or not attempt.reading.done():
                continue
            if (error := attempt.reading.exception()) is None:
                self._take(attempt, now)
                return attempt
            attempt.failed = True
            if isinstance(error, ProviderError) and attempt.model.admitted:  # otherwise the meter refused it
                models.breaker(attempt.model).failed(now)
        if any(not a.failed for a in self._attempts):
            return None
        tried = [a.model for a in self._attempts]
        lost = self._attempts[0].reading
        assert lost is not None
        error = lost.exception()
        assert error is not None
        if other is not None and other not in tried and isinstance(error, ProviderError):
            self._hedge_at = None
            models.count(failed_over=1)
            self._note("failed_over", {"from": self._attempts[0].model.provider, "error": type(error).__name__})
            self._ask(other)
            return None
        if isinstance(error, DeadlineError):
            self._note("gave_up", {"after_ms": round(error.deadline_s * 1000)})
        raise error

    def _who(self) -> tuple[ChatLLM, ChatLLM | None]:
        """The model to ask, and the model to ask when that one is late (sets the hedge point).

        Raises ProviderUnavailableError if the breaker is open and there is no other model.
        """
        models, now = self._models, self._models.clock.now()
        first, other = models.first, models.other
        distinct = other is not None and other is not first
        hedges = models.config.hedge and other is not None and (models.config.hedge_with_tools or not self.tools)
        self._hedge_at = now + models.latencies(first).hedge_after_s(models.config) if hedges else None
        if not first.admitted and other is not None and distinct and other.admitted:
            return self._pass_over(first, other)
        if not models.config.breaker or models.breaker(first).state(now) == "closed":
            return first, other
        # Without a token budget there are no trials, so the user's own request is the trial.
        leave = models.breaker(first).state(now) == "open" or models.config.hedge_tokens > 0
        if leave and other is not None and distinct and other.admitted and models.breaker(other).ask(now) != "open":
            models.trials.start(first, models.breaker(first))
            return self._pass_over(first, other)
        if models.breaker(first).ask(now) == "open":
            raise ProviderUnavailableError(
                f"{first.provider} has failed {models.config.breaker_failures} times in a row and is left alone for"
                f" {models.breaker(first).rest_s(now):.0f} s more; name a second provider with llm.hedge"
            )
        return first, other

    def _pass_over(self, first: ChatLLM, other: ChatLLM) -> tuple[ChatLLM, None]:
        self._models.count(passed_over=1)
        self._note("passed_over", first.provider)
        self._hedge_at = None
        return other, None

    def _may_hedge(self, other: ChatLLM, now: float, *, very_late: bool) -> bool:
        cost = self._prompt_tokens()
        if not other.admitted:
            return False
        if self._models.config.breaker and (breaker := self._models.breaker(other)).state(now) != "closed":
            self._models.trials.start(other, breaker)
            return False
        if self._models.budget.allows(cost, now, very_late=very_late):
            return True
        if very_late:
            self._models.count(refused=1)
            self._note("hedge_refused")
        return False

    def _hedge(self, other: ChatLLM, now: float) -> None:
        self._models.budget.sent(now)
        self._models.count(hedged=1)
        self._ask(other)
        self._note("hedge", {"at_ms": round((now - self._attempts[0].requested) * 1000, 1), "to": other.provider})

    def _ask(self, model: ChatLLM) -> None:
        models, now = self._models, self._models.clock.now()
        attempt_trace = AttemptTrace(f"{len(self._attempts)}", models.clock, outer=self._outer)
        options, extra = self._options, dict(self._extra)
        if self._attempts:  # its deadline is that of the first request
            rest_s = max(0.05, model.connection.deadlines.first_content_s - (now - self._began))
            if self._attempts[0].failed:
                rest_s = model.connection.deadlines.first_content_s
            options = dataclasses.replace(options, timeout=min(rest_s, options.timeout or rest_s))
        if models.short_tokens is not None:
            limit = models.short_tokens + reasoning_room(model.model)
            extra.setdefault(model.endpoint.provider.max_tokens_field, limit)
        with trace.generation(attempt_trace):
            stream = model.chat(
                chat_ctx=self.chat_ctx,
                tools=self.tools,
                conn_options=options,
                extra_kwargs=extra if extra else NOT_GIVEN,
                **self._given,
            )
        attempt = Attempt(model, stream, attempt_trace, now)
        attempt.reading = asyncio.create_task(attempt.first(), name=f"llm.hedge.{len(self._attempts)}")
        self._attempts.append(attempt)

    def _take(self, attempt: Attempt, now: float) -> None:
        models = self._models
        self._taken = attempt
        attempt.trace.take()
        came = attempt.trace.marks.get("llm_first_content", now)
        models.latencies(attempt.model).add(max(0.0, came - attempt.requested))
        models.breaker(attempt.model).succeeded()
        for lost in self._attempts:
            if lost is not attempt and not lost.failed:
                models.latencies(lost.model).add(max(0.0, now - lost.requested))
        if attempt is not self._attempts[0] and not self._attempts[0].failed:
            models.count(won=1)

    # --- the ends -----------------------------------------------------------------------------------------------------

    def _close_others(self, taken: Attempt) -> None:
        for attempt in self._attempts:
            if attempt is not taken:
                self._close(attempt)

    def _close(self, attempt: Attempt) -> None:
        if attempt.closed:
            return
        attempt.closed = True
        task = asyncio.create_task(self._closed(attempt), name="llm.hedge.close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    @staticmethod
    async def _closed(attempt: Attempt) -> None:
        if attempt.reading is not None:
            attempt.reading.cancel()
            await asyncio.gather(attempt.reading, return_exceptions=True)
        with contextlib.suppress(ProviderError):  # it was handled when it came
            await attempt.stream.aclose()

    def _account(self) -> None:
        """Count the tokens of all attempts, and write the facts of the hedge to the ledger's trace."""
        models = self._models
        extra = 0
        needed = self._taken or next((a for a in self._attempts if not a.failed), None)
        for attempt in self._attempts:
            facts = attempt.trace.facts
            asked = int(facts.get("prompt_tokens") or (self._prompt_tokens() if not attempt.failed else 0))
            written = int(facts.get("completion_tokens") or facts.get("completion_tokens_estimated") or 0)
            if attempt is needed:
                models.budget.used(asked + written)
            else:
                models.budget.lost(asked + written)
                extra += asked + written
            if attempt is not self._taken and not attempt.failed:
                models.breaker(attempt.model).abandoned()
        if self._outer is None:
            return
        if self._taken is None and self._attempts:
            self._outer.fact(**self._attempts[0].trace.facts)
        hedge = self._outer.facts.get("ladder", {}).get("hedge")
        if isinstance(hedge, dict):
            won = len(self._attempts) > 1 and self._taken is self._attempts[1]
            self._outer.degradation_step("hedge", {**hedge, "won": won, "extra_tokens": extra})

    def _prompt_tokens(self) -> int:
        """Estimated: four characters each."""
        texts = (item.text_content or "" for item in self.chat_ctx.items if item.type == "message")
        return sum(len(text) for text in texts) // 4 + 1

    def _note(self, name: str, what: Any = True) -> None:
        if self._outer is not None:
            self._outer.degradation_step(name, what)
