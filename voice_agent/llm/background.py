"""A request that belongs to no turn: a summary, a trial. The quota meter counts it; no ledger and no counter does.

::

    async with BackgroundRequest(model, model.connection, ctx, "trial", max_tokens=8) as request:
        async for chunk in request.stream: ...
    request.prompt_tokens, request.written_tokens   # its cost, once it is closed
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from ..trace import GenerationTrace, generation
from .choice import reasoning_room
from .provider_connection import ProviderConnection
from .stream import ChatStream


class BackgroundRequest:
    """Sent when the block is entered, closed when it is left. Reading :attr:`stream` raises ProviderError.

    ``max_tokens``: the longest answer; a model that reasons first gets room for that in addition. ``fields``: further
    request fields.
    """

    def __init__(
        self,
        owner: llm.LLM[Any],
        connection: ProviderConnection,
        ctx: llm.ChatContext,
        name: str,
        *,
        max_tokens: int,
        **fields: Any,
    ) -> None:
        self._owner, self._connection, self._ctx = owner, connection, ctx
        limit = max_tokens + reasoning_room(connection.model)
        self._fields: dict[str, Any] = {connection.endpoint.provider.max_tokens_field: limit, **fields}
        self._trace = GenerationTrace(name, connection.clock)  # its own, which no ledger reads

    async def __aenter__(self) -> BackgroundRequest:
        with generation(self._trace):
            self.stream = ChatStream(
                self._owner,
                self._connection,
                chat_ctx=self._ctx,
                tools=[],
                conn_options=DEFAULT_API_CONNECT_OPTIONS,
                extra=self._fields,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stream.aclose()

    @property
    def prompt_tokens(self) -> int | None:
        """By the provider's count; None without one."""
        known = self._trace.facts.get("prompt_tokens")
        return None if known is None else int(known)

    @property
    def written_tokens(self) -> int:
        """By the provider's count, otherwise estimated."""
        facts = self._trace.facts
        return int(facts.get("completion_tokens") or facts.get("completion_tokens_estimated") or 0)
