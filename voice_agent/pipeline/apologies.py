"""Says sorry when a turn could not be answered or understood; the call goes on.

A turn fails when its reply fails (the ledger's row has the error). One failed STT pass costs the words of one utterance
(:mod:`voice_agent.stt.whisper_stream` reports it and goes on); without a word from the agent the user would wait for an
answer that cannot come.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from livekit.agents import AgentSession, stt
from livekit.agents.voice import ErrorEvent, UserInputTranscribedEvent, UserStateChangedEvent

from ..budget.ledger import Mark, Turn

log = logging.getLogger("voice_agent")


class Apologies:
    """For one session. ``text`` is spoken, and not put into the history."""

    def __init__(self, session: AgentSession[Any], text: str) -> None:
        self._session = session
        self._text = text
        self._stt_failed = False
        session.on("error", self._error)
        session.on("user_input_transcribed", self._transcribed)
        session.on("user_state_changed", self._state)

    def turn_closed(self, turn: Turn) -> None:
        """Apologise for a turn that failed before anything of its reply could be heard."""
        if turn.error is not None and turn.marks[Mark.FIRST_AUDIBLE] is None:
            log.warning("turn %s failed: %s", turn.id, turn.error)
            self._apologise()

    def _error(self, ev: ErrorEvent) -> None:
        if isinstance(ev.source, stt.STT):
            self._stt_failed = True

    def _transcribed(self, ev: UserInputTranscribedEvent) -> None:
        if ev.is_final:
            self._stt_failed = False

    def _state(self, ev: UserStateChangedEvent) -> None:
        if self._stt_failed and ev.old_state == "speaking":
            self._stt_failed = False
            self._apologise()

    def _apologise(self) -> None:
        with contextlib.suppress(RuntimeError):  # the session is closing: nobody listens any more
            self._session.say(self._text, add_to_chat_ctx=False)


__all__ = ["Apologies"]
