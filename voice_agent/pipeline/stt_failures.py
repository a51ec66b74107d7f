"""When the ears fail: say so, once the user has finished, and go on.

One failing pass costs the words of one utterance (:mod:`voice_agent.stt.whisper_stream` reports it and hears on).
Without a word from the agent the user would wait for an answer that cannot come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession, stt
from livekit.agents.voice import ErrorEvent, UserInputTranscribedEvent, UserStateChangedEvent


class SttFailures:
    """Follows one session; ``apologise`` is called after an utterance that the ears failed on and gave no text for."""

    def __init__(self, session: AgentSession[Any], apologise: Callable[[], None]) -> None:
        self._apologise = apologise
        self._failed = False
        session.on("error", self._error)
        session.on("user_input_transcribed", self._heard)
        session.on("user_state_changed", self._state)

    def _error(self, ev: ErrorEvent) -> None:
        if isinstance(ev.source, stt.STT):
            self._failed = True

    def _heard(self, ev: UserInputTranscribedEvent) -> None:
        if ev.is_final:
            self._failed = False

    def _state(self, ev: UserStateChangedEvent) -> None:
        if self._failed and ev.old_state == "speaking":
            self._failed = False
            self._apologise()
