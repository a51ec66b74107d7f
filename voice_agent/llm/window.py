"""How much of a long conversation goes with a request: a stable beginning, and the oldest part dropped in big steps.

A provider's prompt cache (and llama.cpp's) reuses the longest beginning that is equal to an earlier request's. A
window that slides by one message a turn changes the beginning each time, so nothing is ever reused; one that drops
half of itself once in many turns keeps it equal in between. Pure, but for the state: where the window begins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from livekit.agents import llm

_PER_MESSAGE = 4  # tokens around a message in a chat template, roughly
_KEPT_SHARE = 0.5
_AHEAD_SHARE = 0.9  # above this share of the limit, what would be dropped soon is dropped between turns


def tokens_of(item: llm.ChatItem) -> int:
    """Estimated tokens: four letters one, as for English with the tokenizers of Llama and GPT."""
    if item.type == "message":
        text = item.text_content or ""
    elif item.type == "function_call":
        text = item.name + (item.arguments if isinstance(item.arguments, str) else json.dumps(item.arguments))
    elif item.type == "function_call_output":
        text = item.output
    else:
        return 0
    return _PER_MESSAGE + -(-len(text) // 4)


@dataclass(slots=True)
class Window:
    """``limit`` in estimated tokens. When the conversation exceeds it, the oldest turns are dropped until half is left.

    System and developer messages at the beginning always stay; the cut is made before a user's message, so that a
    tool's call and its result are never parted.
    """

    limit: int
    drops: int = 0
    _first_id: str | None = None
    _sizes: dict[str, int] = field(default_factory=dict)

    def view(self, ctx: llm.ChatContext) -> llm.ChatContext:
        """What to send of ``ctx``; ``ctx`` itself is not changed, and is returned where all of it fits."""
        items = ctx.items
        head = next((at for at, item in enumerate(items) if not _instruction(item)), len(items))
        begin = next((at for at in range(head, len(items)) if items[at].id == self._first_id), head)
        total = sum(self._size(item) for item in (*items[:head], *items[begin:]))
        if total > self.limit:
            begin = self._cut(items, begin, total)
            # Sizes of what has been dropped are not asked for again.
            kept = {item.id for item in items[begin:]} | {item.id for item in items[:head]}
            self._sizes = {name: size for name, size in self._sizes.items() if name in kept}
        if begin == head:
            return ctx
        view = llm.ChatContext.empty()
        view.items = [*items[:head], *items[begin:]]
        return view

    def ahead(self, ctx: llm.ChatContext) -> llm.ChatContext | None:
        """Drop now what one of the next turns would; the new view, or None if there is nothing to drop yet."""
        drops, limit = self.drops, self.limit
        self.limit = round(limit * _AHEAD_SHARE)
        try:
            view = self.view(ctx)
        finally:
            self.limit = limit
        return view if self.drops > drops else None

    def _cut(self, items: Sequence[llm.ChatItem], begin: int, total: int) -> int:
        users = [at for at in range(begin + 1, len(items)) if _from_user(items[at])]
        if not users:
            return begin
        left, at = total, begin
        for user in users:
            left -= sum(self._size(item) for item in items[at:user])
            at = user
            if left <= self.limit * _KEPT_SHARE:
                break
        self.drops += 1
        self._first_id = items[at].id
        return at

    def _size(self, item: llm.ChatItem) -> int:
        known = self._sizes.get(item.id)
        if known is None:
            known = self._sizes[item.id] = tokens_of(item)
        return known


def _instruction(item: llm.ChatItem) -> bool:
    return item.type != "message" or item.role in ("system", "developer")


def _from_user(item: llm.ChatItem) -> bool:
    return item.type == "message" and item.role == "user"
