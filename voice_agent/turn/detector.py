"""The turn detector: the turn policy with its end-of-turn models, each on its own thread, and the barge-in policy.

The event loop hands in windows and texts; scores come back later and go to the policy with the time of their arrival.
A late score of an earlier text is kept (the text may come back) and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..audio.samples import Int16
from ..config import TurnConfig
from ..turn_events import Reopen, SpeechStarted, TurnEvent
from .barge_in_policy import BargeInDecision, BargeInPolicy, Drop, Yield
from .energy import EnergyDrop
from .eou.end_of_turn_models import EndOfTurnModel, RuleEndOfTurnModel
from .eou.english_rules import grammar_penalty
from .recorder import Recorder
from .scorer import EndOfTurnScorer
from .turn_policy import TurnPolicy, TurnState
from .turn_text import words_of


def ends_with_stop(text: str) -> bool:
    """Whisper ended the text with one sentence mark; "..." means that it leaves the sentence open."""
    return text.rstrip().endswith((".", "?", "!")) and not text.rstrip().endswith("..")


@dataclass(frozen=True, slots=True)
class AgentSound:
    """What the agent is saying: its words until now, and how much of the reply is left in s (None: not known)."""

    text: str = ""
    left_s: float | None = None


class TurnDetector:
    """A :class:`~voice_agent.turn_events.BaseTurnDetector` for one call.

    ``barge_in`` (with :meth:`agent_began` and :meth:`agent_ended`) tells interruptions from noises: ``on_barge_in``
    gets its decisions about the agent's sound, ``agent`` gives the state of that sound.
    """

    def __init__(
        self,
        config: TurnConfig,
        end_of_turn_model: EndOfTurnModel,
        *,
        barge_in: BargeInPolicy | None = None,
        on_barge_in: Callable[[BargeInDecision], None] = lambda _: None,
        agent: Callable[[], AgentSound] = AgentSound,
    ) -> None:
        self._policy = TurnPolicy(config)
        self.recorder = Recorder(config) if config.record_evidence else None
        self.scorer = EndOfTurnScorer(end_of_turn_model, self._scored)
        self._barge_in = barge_in
        self._on_barge_in = on_barge_in
        self._agent = agent
        self._emit: Callable[[TurnEvent], None] = lambda _: None
        self._energy_drop = EnergyDrop(config.energy_drop_db)
        self._rules = RuleEndOfTurnModel()
        self._now_s = 0.0

    def bind(self, emit: Callable[[TurnEvent], None]) -> None:
        self._emit = emit

    @property
    def policy(self) -> TurnPolicy:
        """The pure policy."""
        return self._policy

    @property
    def in_speech(self) -> bool:
        return self._policy.in_speech

    @property
    def speech_ended_s(self) -> float:
        return self._policy.speech_ended_s

    @property
    def loud_until_s(self) -> float:
        return self._policy.loud_until_s

    @property
    def wants_confirmation(self) -> bool:
        return self._policy.wants_confirmation

    # --- evidence -------------------------------------------------------------------------------------------------

    def window(self, end_s: float, probability: float, pcm: Int16) -> None:
        self._now_s = max(self._now_s, end_s)
        policy = self._policy
        energy_drop = self._energy_drop.window(pcm, probability > policy.config.speech_threshold)
        if self.recorder is not None:
            self.recorder.window(end_s, probability, energy_drop)
        self._out(policy.window(end_s, probability, len(pcm) / 16_000, energy_drop))
        if self._barge_in is not None and self._barge_in.agent_active:
            agent = self._agent()
            self._barge_in_out(
                self._barge_in.window(
                    end_s, probability, in_turn=self.in_speech, agent_text=agent.text, reply_left_s=agent.left_s
                )
            )
        paused = policy.state is TurnState.PAUSED
        text = policy.present_text
        if text and paused and self._scores_late and not self.scorer.busy and not self.scorer.knows(text):
            self.scorer.request(text)  # no further text may come

    def text(self, text: str, covers_s: float, now_s: float) -> None:
        self._now_s = max(self._now_s, now_s)
        self._out(self._policy.text(text, covers_s, now_s))
        self._out(self._first_guess(now_s))
        if self.recorder is not None and text:
            self.recorder.text(self._policy.present_text, covers_s, now_s)
        if self._barge_in is not None and self._barge_in.agent_active:
            self._barge_in_out(self._barge_in.text(text, covers_s, now_s, agent_text=self._agent().text))
        if self._policy.in_speech and text and (not self._scores_late or self._policy.state is TurnState.PAUSED):
            self.scorer.request(self._policy.present_text)

    def advance(self, now_s: float) -> None:
        self._now_s = max(self._now_s, now_s)
        self._out(self._policy.advance(now_s))
        if self._barge_in is not None and self._barge_in.agent_active:
            self._barge_in_out(self._barge_in.advance(now_s, in_turn=self.in_speech, agent_text=self._agent().text))

    def reply_ready(self, text: str) -> None:
        """The provisional reply to ``text`` has its first audio."""
        self._out(self._policy.reply_ready(text, self._now_s))

    def audible(self) -> None:
        """The reply can be heard."""
        self._out(self._policy.audible(self._now_s))

    def agent_began(self) -> None:
        """The agent's sound starts."""
        if self._barge_in is not None:
            self._barge_in.agent_began(self._now_s)
            self._policy.agent_active = self._barge_in.agent_active

    def agent_ended(self) -> None:
        """The agent's sound is over, or was taken back."""
        if self._barge_in is not None:
            self._barge_in.agent_ended(self._now_s)
            self._policy.agent_active = False

    async def aclose(self) -> None:
        self.scorer.close()

    # --- decisions ------------------------------------------------------------------------------------------------

    def _barge_in_out(self, decisions: tuple[BargeInDecision, ...]) -> None:
        assert self._barge_in is not None
        self._policy.agent_active = self._barge_in.agent_active
        for decision in decisions:
            self._on_barge_in(decision)
            if isinstance(decision, Drop):
                self._out(self._policy.discard(decision.reason))
            elif isinstance(decision, Yield):
                self._out(self._policy.advance(self._now_s))

    def _out(self, events: tuple[TurnEvent, ...]) -> None:
        for event in events:
            if isinstance(event, SpeechStarted | Reopen):
                self.scorer.reset()
            if self.recorder is not None:
                self.recorder.decided(event)
            self._emit(event)

    @property
    def _scores_late(self) -> bool:
        """Without early preflights (as with many calls) a score in mid-speech has no use."""
        return self._policy.config.max_early_preflights == 0

    def _first_guess(self, now_s: float) -> tuple[TurnEvent, ...]:
        """In a pause the preflight goes out on the rules' score; the model's, some 30 ms later, gives the wait.

        Until then the wait is that of an unsure text. At an energy drop there is time for the model, which saves
        requests.
        """
        policy = self._policy
        text = policy.present_text
        if policy.state is not TurnState.PAUSED or self.scorer.knows(text):
            return ()
        guess = policy.config.score_unsure  # enough for a preflight, not for a short wait
        if not ends_with_stop(text) or self._rules.score(text) - grammar_penalty(text) < guess:
            return ()
        return policy.end_of_turn_score(text, guess, now_s)

    def _scored(self, text: str, score: float, took_s: float | None) -> None:
        if self.recorder is not None and took_s is not None:
            self.recorder.score(words_of(text), score, took_s)
        self._out(self._policy.end_of_turn_score(text, score, self._now_s))
