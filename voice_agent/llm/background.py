"""A request that is no turn's: a summary, a trial. The meter counts it; the ledger and the client's counters do not.

async with BackgroundRequest(model, ctx, "trial", max_tokens=8) as request:
    async for chunk in request.stream: ...
request.prompt_tokens, request.written_tokens   # what it has cost, once it is closed
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from ..trace import GenerationTrace, generation
from .choice import reasoning_room
from .stream import ChatStream

if TYPE_CHECKING:
    from .client import ChatLLM


class BackgroundRequest:
    """One such request, sent when the block is entered and closed when it is left.

    ``max_tokens``: the longest answer; a model that reasons first gets room for that beside it. ``fields``: of the
    request. The stream raises ProviderError.
    """

    def __init__(self, model: ChatLLM, ctx: llm.ChatContext, name: str, *, max_tokens: int, **fields: Any) -> None:
        self._model, self._ctx = model, ctx
        limit: dict[str, Any] = {model.endpoint.provider.max_tokens_field: max_tokens + reasoning_room(model.model)}
        self._fields = {**limit, **fields}
        self._trace = GenerationTrace(name, model.clock)  # of its own: no ledger reads it

    async def __aenter__(self) -> BackgroundRequest:
        with generation(self._trace):
            self.stream = ChatStream(
                self._model,
                chat_ctx=self._ctx,
                tools=[],
                conn_options=DEFAULT_API_CONNECT_OPTIONS,
                extra=self._fields,
                aside=True,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stream.aclose()

    @property
    def prompt_tokens(self) -> int | None:
        """By the provider's count; None if it gave none."""
        known = self._trace.facts.get("prompt_tokens")
        return None if known is None else int(known)

    @property
    def written_tokens(self) -> int:
        """By the provider's count, else estimated."""
        facts = self._trace.facts
        return int(facts.get("completion_tokens") or facts.get("completion_tokens_estimated") or 0)
