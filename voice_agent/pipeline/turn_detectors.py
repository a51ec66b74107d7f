"""The turn detectors of one session: LiveKit opens an STT stream whenever an agent starts, and each has its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..config import Config, TurnConfig
from ..turn import AgentSound, BargeInPolicy, EndOfTurnModel, TurnDetector
from ..turn.barge_in_policy import BargeInDecision
from ..turn.turn_policy import TurnState
from ..turn_events import BaseTurnDetector


class TurnDetectors:
    """Makes detectors and tells all of them what the session does.

    ``under_load()``: there are many calls, so fewer early preflights are sent. ``agent()``: what the agent is heard to
    say. ``on_barge_in`` is given each decision about the agent's sound.
    """

    def __init__(
        self,
        config: Config,
        end_of_turn_model: EndOfTurnModel,
        *,
        under_load: Callable[[], bool],
        agent: Callable[[], AgentSound],
    ) -> None:
        self.on_barge_in: Callable[[BargeInDecision], None] = lambda _: None
        self._interruption = config.interruption
        self._usual = config.turn
        few = min(config.room.many_calls_early_preflights, config.turn.max_early_preflights)
        self._with_many_calls = dataclasses.replace(config.turn, max_early_preflights=few)
        self._end_of_turn_model = end_of_turn_model
        self._under_load = under_load
        self._agent = agent
        self._made: list[TurnDetector] = []

    def make(self) -> BaseTurnDetector:
        """A detector for a new STT stream."""
        detector = TurnDetector(
            self._present_config(),
            self._end_of_turn_model,
            barge_in=BargeInPolicy(self._interruption),
            on_barge_in=self._decided,
            agent=self._agent,
        )
        self._made.append(detector)
        return detector

    def _present_config(self) -> TurnConfig:
        return self._with_many_calls if self._under_load() else self._usual

    def _decided(self, decision: BargeInDecision) -> None:
        self.on_barge_in(decision)

    def user_paused(self) -> bool:
        """The user has paused: what they said is waited for. Called from any thread."""
        return any(detector.policy.state is TurnState.PAUSED for detector in self._made)

    def reply_ready(self, text: str) -> None:
        """The reply to ``text`` has its first audio."""
        for detector in self._made:
            detector.reply_ready(text)

    def expect_reply_after(self, seconds: float) -> None:
        """No reply is ready sooner than this after its request."""
        for detector in self._made:
            detector.policy.reply_takes_s = seconds

    def audible(self) -> None:
        """The reply can be heard."""
        for detector in self._made:
            detector.audible()

    def agent_began(self) -> None:
        """The agent's sound starts."""
        for detector in self._made:
            detector.agent_began()

    def agent_ended(self) -> None:
        """The agent's sound is over, or was cleared."""
        for detector in self._made:
            detector.agent_ended()

    def turn_committed(self) -> dict[str, Any] | None:
        """A turn is over: from the next one on the settings fit the present load. Returns what the last detector has
        recorded of the turn (``turn.record_evidence``), else None."""
        for detector in self._made:
            detector.policy.configure(self._present_config())
        recorder = self._made[-1].recorder if self._made else None
        return recorder.record if recorder is not None else None


__all__ = ["TurnDetectors"]
