"""The floor, wired: what the turn detectors decide is done to the session's sound.

:mod:`.turn.interruption` decides, this acts: ``pause()`` and ``resume()`` of whatever output the session has, and
``session.interrupt()`` once words are confirmed. It works the same for every end. LiveKit's own machinery goes on
beside it: it pauses too when it sees an interim text, and resumes when an utterance ends without a turn.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice import AgentStateChangedEvent, io

from ..audio.heard_words import HeardWords
from ..clock import SYSTEM, Clock
from ..turn.barge_in_policy import BargeInDecision, Drop, Pause, Resume, Yield
from ..turn.detector import AgentSound, TurnDetector

log = logging.getLogger("voice_agent")

KEPT = 16  # speeches whose words are remembered: the one that plays, and provisional ones


@dataclass(slots=True)
class _Said:
    """One stretch of synthesised sound: its words, its length so far, whether that is all."""

    words: HeardWords = field(default_factory=HeardWords)
    total_s: float = 0.0
    complete: bool = False


class BargeIn:
    """For one session. ``on_barge_in`` is told of every decision (tests, displays)."""

    def __init__(self, session: AgentSession[Any], detectors: Sequence[TurnDetector], clock: Clock = SYSTEM) -> None:
        self._session = session
        self._detectors = detectors
        self._clock = clock
        self._output: io.AudioOutput | None = None
        self._said: OrderedDict[str, deque[_Said]] = OrderedDict()
        self._playing: _Said | None = None
        self._began_at = 0.0
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self.on_barge_in: Callable[[BargeInDecision], None] = lambda _: None
        self.on_finished: Callable[[], None] = lambda: None
        session.on("agent_state_changed", self._state)

    # --- what the agent says ----------------------------------------------------------------------------------------

    def speaks(self, speech_id: str) -> Callable[[rtc.AudioFrame | None], None]:
        """A new stretch of sound for that speech: call what is returned with each frame, and with None at the end."""
        said = _Said()
        self._said.setdefault(speech_id, deque()).append(said)
        while len(self._said) > KEPT:
            self._said.popitem(last=False)

        def frame(frame: rtc.AudioFrame | None) -> None:
            if frame is None:
                said.complete = True
            else:
                said.words.add(frame, said.total_s)
                said.total_s += frame.duration

        return frame

    def sound(self) -> AgentSound:
        """What is being heard of the agent now."""
        said = self._playing
        if said is None:
            return AgentSound()
        until = self._clock.now() if self._paused_at is None else self._paused_at
        position = max(0.0, until - self._began_at - self._paused_s)
        left = max(0.0, said.total_s - position) if said.complete else None
        return AgentSound(said.words.until(position + 0.3) or "", left)

    # --- what the output reports ------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Listen to the output that the session has now. Called again whenever the agent starts to speak."""
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
        mine = self._said.get(speech.id) if speech is not None else None
        self._playing = mine.popleft() if mine else None
        self._began_at, self._paused_s, self._paused_at = self._clock.now(), 0.0, None
        for detector in self._detectors:
            detector.agent_began()

    def _finished(self, _: io.PlaybackFinishedEvent) -> None:
        self._playing = self._paused_at = None
        self.on_finished()
        for detector in self._detectors:
            detector.agent_ended()

    # --- what is decided --------------------------------------------------------------------------------------------

    def decide(self, decision: BargeInDecision) -> None:
        """Do it. Called on the event loop."""
        log.debug("floor: %s", decision)
        output = self._session.output.audio
        match decision:
            case Pause():
                if output is not None:
                    output.pause()
                self._paused_at = self._clock.now()
            case Resume():
                if self._paused_at is not None:
                    self._paused_s += self._clock.now() - self._paused_at
                    self._paused_at = None
                if output is not None:
                    output.resume()
            case Yield():
                with contextlib.suppress(RuntimeError):  # a speech that may not be interrupted, or no session any more
                    self._session.interrupt()
            case Drop():
                pass
        self.on_barge_in(decision)
