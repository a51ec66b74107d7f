"""Asks a provider that has failed whether it answers again, in the background, while another provider serves the user.

A trial with the user's own request would cost its whole prompt once more, and during an outage the other provider has
answered before the trial ends. So a trial is a request of one short sentence; the hedge budget pays for it.
"""

from __future__ import annotations

import asyncio

from livekit.agents import llm, utils

from ...budget.hedge_policy import HedgeBudget
from ...clock import Clock
from ...errors import ProviderError
from ..background import BackgroundRequest
from ..client import ChatLLM
from .breaker import Breaker

TRIAL_TEXT = "Say yes."
TRIAL_TOKENS = 8
"""The longest answer; only its first word is read."""
TRIAL_COST = 20
"""Estimated tokens of a trial, with the chat template around the text."""


async def answers(model: ChatLLM) -> tuple[bool, int]:
    """Whether ``model`` answers, and the tokens of the trial (estimated if the provider gives no count)."""
    ctx = llm.ChatContext.empty()
    ctx.add_message(role="user", content=TRIAL_TEXT)
    request = BackgroundRequest(model, model.connection, ctx, "trial", max_tokens=TRIAL_TOKENS)
    came = False
    try:
        async with request:
            async for chunk in request.stream:
                if chunk.has_response():
                    came = True
                    break
    except ProviderError:
        return False, 0
    return came, (request.prompt_tokens or TRIAL_COST) + request.written_tokens


class Trials:
    """The running trials, at most one a provider. Each needs the consent of ``budget``, the hedge's."""

    def __init__(self, budget: HedgeBudget, clock: Clock) -> None:
        self.started = 0
        self._budget, self._clock = budget, clock
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, model: ChatLLM, breaker: Breaker) -> None:
        """Start a trial of ``model`` if ``breaker`` is half open; its result goes to the breaker. Returns at once."""
        now = self._clock.now()
        if breaker.state(now) != "half open" or not model.admitted:
            return
        if not self._budget.allows(TRIAL_COST, now, background=True):
            return
        breaker.ask(now)
        self._budget.sent(now)
        self.started += 1
        task = asyncio.create_task(self._try(model, breaker), name="llm.trial")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, model: ChatLLM, breaker: Breaker) -> None:
        try:
            back, cost = await answers(model)
        except BaseException:
            breaker.abandoned()
            raise
        self._budget.lost(cost)
        if back:
            breaker.came_back()
        else:
            breaker.failed(self._clock.now())

    async def aclose(self) -> None:
        """Cancel the running trials."""
        await utils.aio.cancel_and_wait(*self._tasks)
