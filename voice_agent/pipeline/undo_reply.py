"""A turn is reopened: its reply, which nobody has heard, is undone."""

from __future__ import annotations

import contextlib

from livekit.agents import Agent, llm
from livekit.agents.voice import SpeechHandle


async def undo_reply(agent: Agent, speech: SpeechHandle | None, user_text: str) -> None:
    """Interrupt ``speech``, and take ``user_text`` out of the history if it is the last item."""
    if speech is not None:
        with contextlib.suppress(RuntimeError):
            await speech.interrupt(force=True)
    history = agent.chat_ctx.copy()
    last = history.items[-1] if history.items else None
    if isinstance(last, llm.ChatMessage) and last.role == "user" and (last.text_content or "") == user_text:
        history.items.pop()
        await agent.update_chat_ctx(history)


__all__ = ["undo_reply"]
