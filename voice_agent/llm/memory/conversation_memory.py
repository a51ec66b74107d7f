"""Keeps a long conversation within the context limit, in the background after each answer.

The oldest turns are dropped while the answer is spoken, not in the next turn. If configured, a summary of them is
requested first. For the embedded model the new beginning is also read into its cache then (7 ms a token).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import httpx2
import openai
from livekit.agents import llm

from ..provider_connection import ProviderConnection
from .summary import Summaries
from .window import ContextWindow

logger = logging.getLogger(__name__)


class ConversationMemory:
    """The window and the summaries of one client's conversation, and the task that updates them."""

    def __init__(self, connection: ProviderConnection, window: ContextWindow, summaries: Summaries) -> None:
        self.window = window
        self.summaries = summaries
        self._connection = connection
        self._task: asyncio.Task[None] | None = None

    def view(self, ctx: llm.ChatContext) -> llm.ChatContext:
        """The part of ``ctx`` that is sent."""
        return self.window.view(ctx)

    def answered(self, ctx: llm.ChatContext) -> None:
        """An answer to ``ctx`` has ended: drop its oldest turns if a next turn would have to. Returns at once."""
        if not (old := self.window.due(ctx)):
            return
        if self.summaries.enabled:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._summarise(ctx, old), name="llm.memory.summary")
            return
        view = self.window.replace(ctx, old)
        if self._connection.endpoint.kind == "embedded":
            self._task = asyncio.create_task(self._prefill(view), name="llm.memory.prefill")

    def give_way(self) -> None:
        """Cancel the task: the user's request goes first. What was read stays in the server's cache; a summary is
        requested again after the next answer."""
        if self._task is not None:
            self._task.cancel()

    async def settled(self) -> None:
        """Return when no task is running (no turn waits for this)."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def aclose(self) -> None:
        """Cancel the task and wait for its end."""
        self.give_way()
        await self.settled()

    async def _summarise(self, ctx: llm.ChatContext, old: Sequence[llm.ChatItem]) -> None:
        made = await self.summaries.make(self.window.said_before(ctx), old)
        view = self.window.replace(ctx, old, made)
        if self._connection.endpoint.kind == "embedded":
            await self._prefill(view)

    async def _prefill(self, view: llm.ChatContext) -> None:
        messages, _ = view.to_provider_format(format="openai")
        connection = self._connection
        body = {**connection.endpoint.extra_body, "model": connection.model, "messages": messages, "max_tokens": 1}
        # llama.cpp closes a connection after a hundred requests, and without the prefill the next turn reads the whole
        # prompt. Two repeats, since the pool may hold more than one closed connection.
        for last in (False, False, True):
            try:
                await connection.client.post("/chat/completions", cast_to=object, body=body)
                return
            except (openai.OpenAIError, httpx2.HTTPError) as error:
                if last or not isinstance(error, openai.APIConnectionError):
                    logger.debug("the shortened conversation was not prefilled: %s", type(error).__name__)
                    return
