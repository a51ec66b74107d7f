"""Carries out barge-in decisions on the session's audio output.

:mod:`voice_agent.turn.barge_in_policy` decides; this calls ``pause()`` and ``resume()`` of the session's output, and
``session.interrupt()`` once words are confirmed. It is the same for every end. LiveKit's own interruption handling
stays on: it pauses too when it sees an interim text, and resumes when an utterance ends without a turn.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession
from livekit.agents.voice import AgentStateChangedEvent, io

from ..turn.barge_in_policy import BargeInDecision, Drop, Pause, Resume, Yield
from .agent_speech import AgentSpeech
from .turn_detectors import TurnDetectors

log = logging.getLogger("voice_agent")


class BargeIn:
    """For one session. ``on_barge_in`` is given every decision (for tests and displays)."""

    def __init__(self, session: AgentSession[Any], speech: AgentSpeech, detectors: TurnDetectors) -> None:
        self._session = session
        self._speech = speech
        self._detectors = detectors
        self._output: io.AudioOutput | None = None
        self.on_barge_in: Callable[[BargeInDecision], None] = lambda _: None
        self.on_finished: Callable[[], None] = lambda: None
        detectors.on_barge_in = self.decide
        session.on("agent_state_changed", self._state)

    def attach(self) -> None:
        """Listen to the session's present output. Called again whenever the agent's state changes."""
        output = self._session.output.audio
        if output is self._output:
            return
        if self._output is not None:
            self._output.off("playback_started", self._started)
            self._output.off("playback_finished", self._finished)
        self._output = output
        if output is not None:
            output.on("playback_started", self._started)
            output.on("playback_finished", self._finished)

    def _state(self, ev: AgentStateChangedEvent) -> None:
        self.attach()

    def _started(self, _: io.PlaybackStartedEvent) -> None:
        speech = self._session.current_speech
        self._speech.playback_started(speech.id if speech is not None else None)
        self._detectors.agent_began()

    def _finished(self, _: io.PlaybackFinishedEvent) -> None:
        self._speech.playback_finished()
        self.on_finished()
        self._detectors.agent_ended()

    def decide(self, decision: BargeInDecision) -> None:
        """Carry out a decision. Called on the event loop."""
        log.debug("barge-in: %s", decision)
        output = self._session.output.audio
        match decision:
            case Pause():
                if output is not None:
                    output.pause()
                self._speech.playback_paused()
            case Resume():
                self._speech.playback_resumed()
                if output is not None:
                    output.resume()
            case Yield():
                with contextlib.suppress(RuntimeError):  # the speech may not be interrupted, or the session has ended
                    self._session.interrupt()
            case Drop():
                pass
        self.on_barge_in(decision)


__all__ = ["BargeIn"]
