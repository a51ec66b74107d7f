"""The part of a long conversation that is sent with a request: a stable prefix, with the oldest turns dropped rarely.

The prompt caches of providers and of llama.cpp reuse the longest prefix that equals an earlier request's. A window that
slides by one message a turn changes the prefix each time, so nothing is reused. This one drops half of itself once in
many turns and keeps the prefix equal in between. No I/O.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from livekit.agents import llm

_PER_MESSAGE = 4  # tokens around a message in a chat template, roughly
_KEPT_SHARE = 0.5
_AHEAD_SHARE = 0.9  # above this share of the limit, turns are dropped between two turns


def tokens_of(item: llm.ChatItem) -> int:
    """Estimated tokens: four characters each, as for English with the tokenizers of Llama and GPT."""
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
class ContextWindow:
    """``limit`` in estimated tokens. When the conversation exceeds it, the oldest turns are dropped until half is left.

    System and developer messages at the beginning always stay. The cut is made before a user message, so a tool call
    and its result are never separated.
    """

    limit: int
    drops: int = 0
    summary: str = ""
    """The summary of the dropped turns, sent below the instructions."""
    _first_id: str | None = None
    _sizes: dict[str, int] = field(default_factory=dict)

    def view(self, ctx: llm.ChatContext) -> llm.ChatContext:
        """The part of ``ctx`` to send; ``ctx`` itself, which is never changed, if all of it fits."""
        items = ctx.items
        head, begin = self._span(items)
        total = self._total(items, head, begin)
        if total > self.limit:
            begin = self._drop(items, head, begin, self._cut(items, begin, total))
        if begin == head:
            return ctx
        view = llm.ChatContext.empty()
        view.items = [*_with_summary(items[:head], self.summary), *items[begin:]]
        return view

    def due(self, ctx: llm.ChatContext) -> list[llm.ChatItem]:
        """The items that one of the next turns would have to drop; empty while there are none."""
        items = ctx.items
        head, begin = self._span(items)
        total = self._total(items, head, begin)
        if total <= round(self.limit * _AHEAD_SHARE):
            return []
        return list(items[begin : self._cut(items, begin, total)])

    def replace(self, ctx: llm.ChatContext, old: Sequence[llm.ChatItem], summary: str | None = None) -> llm.ChatContext:
        """Drop ``old`` (from :meth:`due`; it may be dropped already) and put ``summary`` in its place; return the view.

        ``summary`` None: the earlier summary stays.
        """
        items = ctx.items
        head, begin = self._span(items)
        after = next((at + 1 for at in range(head, len(items)) if items[at].id == old[-1].id), begin)
        if begin < after < len(items):
            self._drop(items, head, begin, after)
        self.summary = self.summary if summary is None else summary
        return self.view(ctx)

    def said_before(self, ctx: llm.ChatContext) -> str:
        """The summary of the dropped turns of this conversation; empty if there is none."""
        head, begin = self._span(ctx.items)
        return self.summary if begin > head else ""

    def _span(self, items: Sequence[llm.ChatItem]) -> tuple[int, int]:
        """The index where the instructions end, and the index of the first item after them that is sent."""
        head = next((at for at, item in enumerate(items) if not _instruction(item)), len(items))
        return head, next((at for at in range(head, len(items)) if items[at].id == self._first_id), head)

    def _total(self, items: Sequence[llm.ChatItem], head: int, begin: int) -> int:
        summary = -(-len(self.summary) // 4) if begin > head else 0
        return summary + sum(self._size(item) for item in (*items[:head], *items[begin:]))

    def _cut(self, items: Sequence[llm.ChatItem], begin: int, total: int) -> int:
        """The new first index, so that half of the limit is left; ``begin`` if nothing can be dropped."""
        users = [at for at in range(begin + 1, len(items)) if _from_user(items[at])]
        if not users:
            return begin
        left, at = total, begin
        for user in users:
            left -= sum(self._size(item) for item in items[at:user])
            at = user
            if left <= self.limit * _KEPT_SHARE:
                break
        return at

    def _drop(self, items: Sequence[llm.ChatItem], head: int, begin: int, at: int) -> int:
        if at > begin:
            self.drops += 1
            if begin == head:  # the first drop of this conversation
                self.summary = ""
            self._first_id = items[at].id
            # The sizes of dropped items are not needed again.
            kept = {item.id for item in (*items[:head], *items[at:])}
            self._sizes = {name: size for name, size in self._sizes.items() if name in kept}
        return at

    def _size(self, item: llm.ChatItem) -> int:
        known = self._sizes.get(item.id)
        if known is None:
            known = self._sizes[item.id] = tokens_of(item)
        return known


def _instruction(item: llm.ChatItem) -> bool:
    return item.type != "message" or item.role in ("system", "developer")


def _with_summary(head: Sequence[llm.ChatItem], summary: str) -> list[llm.ChatItem]:
    """``head`` with the summary inside the last instructions: some chat templates refuse a second system message."""
    if not summary:
        return list(head)
    said = f"The conversation so far, in short (what was said, no instructions):\n{summary}"
    for at in reversed(range(len(head))):
        item = head[at]
        if item.type == "message":
            merged = item.model_copy(update={"content": [f"{item.text_content or ''}\n\n{said}"]})
            return [*head[:at], merged, *head[at + 1 :]]
    return [*head, llm.ChatMessage(role="system", content=[said])]


def _from_user(item: llm.ChatItem) -> bool:
    return item.type == "message" and item.role == "user"
