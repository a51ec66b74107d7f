"""One answer of :class:`~.hedge.HedgedLLM`: who is asked, when the other one too, and whose content came first."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from livekit.agents import llm
from livekit.agents.types import NOT_GIVEN, APIConnectOptions

from ... import trace as probe
from ...budget.hedge_policy import VERY_LATE, soonest_of
from ...errors import DeadlineError, ProviderError, ProviderUnavailableError
from ...livekit_compat.streams import LlmStream
from .. import failures
from ..choice import reasoning_room
from ..client import ChatLLM
from .attempt import Attempt, AttemptTrace

if TYPE_CHECKING:
    from .hedge import HedgedLLM

_SOON_S = 0.001  # a timer may fire this much early


class HedgedStream(LlmStream):
    """One answer, as LiveKit reads it. Closing it closes every request that is open."""

    def __init__(
        self,
        owner: HedgedLLM,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        given: dict[str, Any],
        extra: dict[str, Any],
    ) -> None:
        self._owner = owner
        self._given = given
        self._extra = extra
        self._attempts: list[Attempt] = []
        self._outer = probe.current()
        self._began = owner.clock.now()
        self._hedge_at: float | None = None
        self._taken: Attempt | None = None
        self._closing: set[asyncio.Task[None]] = set()
        if self._outer is not None:
            self._outer.rest_s = self.rest_s
        self._options = dataclasses.replace(conn_options, max_retry=0)
        super().__init__(owner, chat_ctx=chat_ctx, tools=tools, conn_options=self._options)

    def rest_s(self) -> float | None:
        """How long the first content will almost surely still take; 0 once it is there, None if nobody knows."""
        if self._taken is not None:
            return 0.0
        now, owner = self._owner.clock.now(), self._owner
        rests: list[float | None] = [
            owner.pace(a.model).rest_s(now - a.requested) for a in self._attempts if not a.failed
        ]
        if self._hedge_at is not None and owner.other is not None:
            soonest = owner.pace(owner.other).soonest_s()
            rests.append(None if soonest is None else max(0.0, self._hedge_at - now) + soonest)
        return soonest_of(rests)

    async def _run(self) -> None:
        self._owner.count(answers=1)
        try:
            taken = await self._race()
            for chunk in taken.held:
                self.emit(chunk)
            self._close_others(taken)
            try:
                async for chunk in taken.stream:
                    self.emit(chunk)
            except ProviderError:
                self._owner.breaker(taken.model).failed(self._owner.clock.now())
                raise
        finally:
            for attempt in self._attempts:
                self._close(attempt)
            await asyncio.gather(*self._closing, return_exceptions=True)
            self._account()

    # --- the race -----------------------------------------------------------------------------------------------------

    async def _race(self) -> Attempt:
        """The request that has content first. Raises ProviderError if none has, or not in time."""
        owner, clock = self._owner, self._owner.clock
        first, other = self._who()
        self._ask(first)
        give_up_ms = owner.config.give_up_ms
        very_late = False
        give_up_at = None if give_up_ms is None else self._began + give_up_ms / 1000
        while True:
            now = clock.now()
            if give_up_at is not None and now >= give_up_at - _SOON_S:
                assert give_up_ms is not None
                self._degradation_step("gave_up", {"after_ms": round(give_up_ms)})
                raise failures.late("first word", give_up_ms / 1000, "degradation.give_up_ms", first.asked())
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
        """What has come: an answer, or failures to be dealt with. Raises when there is nobody left to ask."""
        owner, now = self._owner, self._owner.clock.now()
        for attempt in self._attempts:
            assert attempt.reading is not None
            if attempt.failed or not attempt.reading.done():
                continue
            if (error := attempt.reading.exception()) is None:
                self._take(attempt, now)
                return attempt
            attempt.failed = True
            if isinstance(error, ProviderError) and attempt.model.admitted:  # else it was the meter that said no
                owner.breaker(attempt.model).failed(now)
        if any(not a.failed for a in self._attempts):
            return None
        tried = [a.model for a in self._attempts]
        lost = self._attempts[0].reading
        assert lost is not None
        error = lost.exception()
        assert error is not None
        if other is not None and other not in tried and isinstance(error, ProviderError):
            self._hedge_at = None
            owner.count(failed_over=1)
            self._degradation_step(
                "failed_over", {"from": self._attempts[0].model.provider, "error": type(error).__name__}
            )
            self._ask(other)
            return None
        if isinstance(error, DeadlineError):
            self._degradation_step("gave_up", {"after_ms": round(error.deadline_s * 1000)})
        raise error

    def _who(self) -> tuple[ChatLLM, ChatLLM | None]:
        """Who is asked, and who if that one is late; sets the time for the latter. Raises ProviderUnavailableError."""
        owner, now = self._owner, self._owner.clock.now()
        first, other = owner.first, owner.other
        distinct = other is not None and other is not first
        hedges = owner.config.hedge and other is not None and (owner.config.hedge_with_tools or not self.tools)
        self._hedge_at = now + owner.pace(first).hedge_after_s(owner.config) if hedges else None
        if not first.admitted and other is not None and distinct and other.admitted:
            return self._pass_over(first, other)
        if not owner.config.breaker or owner.breaker(first).state(now) == "closed":
            return first, other
        # Where second requests may cost nothing, the user's own request has to try it.
        leave = owner.breaker(first).state(now) == "open" or owner.config.hedge_tokens > 0
        if leave and other is not None and distinct and other.admitted and owner.breaker(other).ask(now) != "open":
            owner.trials.start(first, owner.breaker(first))
            return self._pass_over(first, other)
        if owner.breaker(first).ask(now) == "open":
            raise ProviderUnavailableError(
                f"{first.provider} has failed {owner.config.breaker_failures} times in a row and is left alone for"
                f" {owner.breaker(first).rest_s(now):.0f} s more; name a second provider with llm.hedge"
            )
        return first, other

    def _pass_over(self, first: ChatLLM, other: ChatLLM) -> tuple[ChatLLM, None]:
        self._owner.count(passed_over=1)
        self._degradation_step("passed_over", first.provider)
        self._hedge_at = None
        return other, None

    def _may_hedge(self, other: ChatLLM, now: float, *, very_late: bool) -> bool:
        cost = self._prompt_tokens()
        if not other.admitted:
            return False
        if self._owner.config.breaker and (breaker := self._owner.breaker(other)).state(now) != "closed":
            self._owner.trials.start(other, breaker)
            return False
        if self._owner.budget.allows(cost, now, very_late=very_late):
            return True
        if very_late:
            self._owner.count(refused=1)
            self._degradation_step("hedge_refused")
        return False

    def _hedge(self, other: ChatLLM, now: float) -> None:
        self._owner.budget.sent(now)
        self._owner.count(hedged=1)
        self._ask(other)
        self._degradation_step(
            "hedge", {"at_ms": round((now - self._attempts[0].requested) * 1000, 1), "to": other.provider}
        )

    def _ask(self, model: ChatLLM) -> None:
        owner, now = self._owner, self._owner.clock.now()
        trace = AttemptTrace(f"{len(self._attempts)}", owner.clock, outer=self._outer)
        options, extra = self._options, dict(self._extra)
        if self._attempts:  # the answer is given up when the first request's would be
            rest_s = max(0.05, model.deadlines.first_content_s - (now - self._began))
            if self._attempts[0].failed:
                rest_s = model.deadlines.first_content_s
            options = dataclasses.replace(options, timeout=min(rest_s, options.timeout or rest_s))
        if owner.short_tokens is not None:
            limit = owner.short_tokens + reasoning_room(model.model)
            extra.setdefault(model.endpoint.provider.max_tokens_field, limit)
        with probe.generation(trace):
            stream = model.chat(
                chat_ctx=self.chat_ctx,
                tools=self.tools,
                conn_options=options,
                extra_kwargs=extra if extra else NOT_GIVEN,
                **self._given,
            )
        attempt = Attempt(model, stream, trace, now)
        attempt.reading = asyncio.create_task(attempt.first(), name=f"llm.hedge.{len(self._attempts)}")
        self._attempts.append(attempt)

    def _take(self, attempt: Attempt, now: float) -> None:
        owner = self._owner
        self._taken = attempt
        attempt.trace.take()
        came = attempt.trace.marks.get("llm_first_content", now)
        owner.pace(attempt.model).add(max(0.0, came - attempt.requested))
        owner.breaker(attempt.model).succeeded()
        for lost in self._attempts:
            if lost is not attempt and not lost.failed:
                owner.pace(lost.model).add(max(0.0, now - lost.requested))
        if attempt is not self._attempts[0] and not self._attempts[0].failed:
            owner.count(won=1)

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
        with contextlib.suppress(ProviderError):  # it was reported when it came
            await attempt.stream.aclose()

    def _account(self) -> None:
        """Tokens of the answer, and of the request that was not taken; and what the ledger is told of both."""
        owner = self._owner
        extra = 0
        needed = self._taken or next((a for a in self._attempts if not a.failed), None)
        for attempt in self._attempts:
            facts = attempt.trace.facts
            asked = int(facts.get("prompt_tokens") or (self._prompt_tokens() if not attempt.failed else 0))
            written = int(facts.get("completion_tokens") or facts.get("completion_tokens_estimated") or 0)
            if attempt is needed:
                owner.budget.used(asked + written)
            else:
                owner.budget.lost(asked + written)
                extra += asked + written
            if attempt is not self._taken and not attempt.failed:
                owner.breaker(attempt.model).abandoned()
        if self._outer is None:
            return
        if self._taken is None and self._attempts:
            self._outer.fact(**self._attempts[0].trace.facts)
        hedge = self._outer.facts.get("ladder", {}).get("hedge")
        if isinstance(hedge, dict):
            won = len(self._attempts) > 1 and self._taken is self._attempts[1]
            self._outer.degradation_step("hedge", {**hedge, "won": won, "extra_tokens": extra})

    def _prompt_tokens(self) -> int:
        """About so many: four letters each."""
        texts = (item.text_content or "" for item in self.chat_ctx.items if item.type == "message")
        return sum(len(text) for text in texts) // 4 + 1

    def _degradation_step(self, name: str, what: Any = True) -> None:
        if self._outer is not None:
            self._outer.degradation_step(name, what)
