"""When has the user finished? A pure policy: evidence in, decisions out, time as an argument.

It does not wait, read a clock or know a model. Times are seconds of audio so far (samples / rate), so a recorded
conversation replays through it in microseconds and gives the same decisions.

Evidence::

    window(end_s, probability, energy_drop)  one VAD window (32 ms); energy_drop: softer than before (energy.py)
    text(text, covers_s, now_s)              a hypothesis, and the end of the audio it was made from
    end_of_turn_score(text, score, now_s)    log-probability that the sentence may end here (eou/)
    reply_ready(text, now_s)                 the provisional reply has its first audio
    audible(now_s)                           the agent's reply can be heard: too late to reopen
    advance(now_s)                           time has passed
    discard(reason)                          the present speech is no turn (barge_in_policy.py)

Two attributes are evidence as well: ``agent_active`` (the agent speaks or is paused: no turn may end) and
``reply_takes_s`` (the model's pace: no reply is ready sooner after a request).

The one transition table::

    state      event                             next       decision
    ---------  --------------------------------  ---------  --------------------------------------------
    IDLE       speech for start_windows          SPEAKING   SpeechStarted
    SPEAKING   window without speech             PAUSED
    SPEAKING   whole text, preflights left, and  SPEAKING   Preflight (early)
               stable, or an energy drop
    any        two texts that differ from the    same       CancelPreflight
               preflight's
    PAUSED     speech                            SPEAKING
    PAUSED     text that covers the speech       PAUSED     Preflight (unless one with these words is out)
    PAUSED     wait over, reply ready or held    COMMITTED  EndOfTurn
    PAUSED     no words in no_words_timeout_s    IDLE       Discard
    COMMITTED  speech, reply not audible yet     SPEAKING   Reopen
    COMMITTED  audible, or reopen_s over         IDLE
    COMMITTED  speech after audible              SPEAKING   SpeechStarted
"""

from __future__ import annotations

import enum

from ..config import TurnConfig
from ..turn_events import CancelPreflight, Discard, EndOfTurn, Preflight, Reopen, SpeechStarted, TurnEvent
from .preflights import Preflights
from .turn_text import TurnText, words_of
from .wait_rule import WaitRule


class TurnState(enum.Enum):
    IDLE = "idle"
    SPEAKING = "speaking"
    PAUSED = "paused"
    COMMITTED = "committed"


class TurnPolicy:
    """The policy for one speaker. Give it evidence in the order of time; act on the decisions."""

    def __init__(self, config: TurnConfig) -> None:
        self.config = config
        self.state = TurnState.IDLE
        self.agent_active = False
        self.reply_takes_s: float | None = None
        self._text = TurnText()
        self._wait = WaitRule(config)
        self._preflights = Preflights(config)
        self._now_s = 0.0
        self._run = 0  # consecutive windows with speech
        self._speech_ended_s = 0.0
        self._loud_until_s = 0.0
        self._committed: EndOfTurn | None = None

    def configure(self, config: TurnConfig) -> None:
        """Use ``config`` from now on."""
        self.config = self._wait.config = self._preflights.config = config

    # --- what the stream reads ------------------------------------------------------------------------------------

    @property
    def speech_ended_s(self) -> float:
        """End of the last window with speech."""
        return self._speech_ended_s

    @property
    def loud_until_s(self) -> float:
        """End of the last window with speech and without an energy drop."""
        return self._loud_until_s

    @property
    def wants_confirmation(self) -> bool:
        """The words look whole and no preflight is out on them: the same words again, and one goes out."""
        score = self._wait.score(self._text.words)
        likely = score is not None and score >= self.config.score_early_preflight
        return self.state is TurnState.SPEAKING and likely and not self.agent_active and not self._preflight_fits

    @property
    def present_text(self) -> str:
        """The text of this turn so far."""
        return self._text.text

    @property
    def in_speech(self) -> bool:
        """A turn is open: hypotheses are needed."""
        return self.state in (TurnState.SPEAKING, TurnState.PAUSED)

    def wait_s(self) -> float:
        """The silence in s that the present evidence asks for."""
        return self._wait.wait_s(self._text.words)

    @property
    def _preflight_fits(self) -> bool:
        return self._preflights.fits(self._text.words)

    # --- evidence -------------------------------------------------------------------------------------------------

    def window(
        self, end_s: float, probability: float, window_s: float = 0.032, energy_drop: bool = False
    ) -> tuple[TurnEvent, ...]:
        """One VAD window that ends at ``end_s`` with the given speech probability."""
        self._now_s = max(self._now_s, end_s)
        speech = probability > self.config.speech_threshold
        self._run = self._run + 1 if speech else 0
        if self.state is TurnState.IDLE:
            return self._maybe_start(end_s, window_s)
        if self.state is TurnState.COMMITTED:
            return self._maybe_reopen(end_s) if self._run >= self.config.start_windows else self.advance(end_s)
        if speech:
            if self.state is TurnState.PAUSED:
                self._wait.add_pause(end_s - window_s - self._speech_ended_s)
                self.state = TurnState.SPEAKING
            self._speech_ended_s = end_s
            if energy_drop:
                return self._maybe_preflight()
            self._loud_until_s = end_s
            return ()
        if self.state is TurnState.SPEAKING:
            self.state = TurnState.PAUSED
            return self._maybe_preflight() + self.advance(end_s)
        return self.advance(end_s)

    def text(self, text: str, covers_s: float, now_s: float) -> tuple[TurnEvent, ...]:
        """A hypothesis of everything said in this turn, made from the audio up to ``covers_s``."""
        self._now_s = max(self._now_s, now_s)
        if not self.in_speech:
            return ()
        self._text.update(text, covers_s)
        cancelled = (CancelPreflight(),) if self._preflights.text_changed(self._text.words) else ()
        return cancelled + self._maybe_preflight() + self.advance(now_s)

    def end_of_turn_score(self, text: str, score: float, now_s: float) -> tuple[TurnEvent, ...]:
        """The end-of-turn model's score for ``text`` (the whole turn so far); kept for as long as the turn lasts."""
        self._now_s = max(self._now_s, now_s)
        self._wait.add_score(words_of(text), score)
        return (self._maybe_preflight() + self.advance(now_s)) if self.in_speech else ()

    def reply_ready(self, text: str, now_s: float) -> tuple[TurnEvent, ...]:
        """The reply to the preflight on ``text`` could be heard at once."""
        self._preflights.reply_ready(words_of(text))
        return self.advance(now_s) if self.state is TurnState.PAUSED else ()

    def audible(self, now_s: float) -> tuple[TurnEvent, ...]:
        """The agent's reply to the committed turn can be heard."""
        if self.state is TurnState.COMMITTED:
            self._close()
        return ()

    def advance(self, now_s: float) -> tuple[TurnEvent, ...]:
        """Time has passed: is a wait over?"""
        self._now_s = max(self._now_s, now_s)
        silence_s = self._now_s - self._speech_ended_s
        if self.state is TurnState.PAUSED:
            if not self._text.text or self._text.covers_s < self._speech_ended_s:
                return self._maybe_discard(silence_s)
            return () if self.agent_active else self._maybe_commit(silence_s)
        if self.state is TurnState.COMMITTED and silence_s >= self.config.reopen_s:
            self._close()
        return ()

    def discard(self, reason: str) -> tuple[TurnEvent, ...]:
        """Another policy has decided that the present speech is no turn."""
        if not self.in_speech:
            return ()
        self._close()
        return (Discard(reason),)

    # --- decisions ------------------------------------------------------------------------------------------------

    def _maybe_start(self, end_s: float, window_s: float) -> tuple[TurnEvent, ...]:
        if self._run < self.config.start_windows:
            return ()
        self._begin(end_s)
        return (SpeechStarted(end_s - self._run * window_s),)

    def _maybe_reopen(self, end_s: float) -> tuple[TurnEvent, ...]:
        assert self._committed is not None
        text = self._committed.text
        self._begin(end_s, prefix=text)
        return (Reopen(text),)

    def _maybe_discard(self, silence_s: float) -> tuple[TurnEvent, ...]:
        """No words: the turn ends once a text covers all of it, or much later."""
        timeout_s = self.config.no_words_timeout_s
        covered = self._text.covers_s >= self._speech_ended_s
        if silence_s >= timeout_s and (covered or silence_s >= 10 * timeout_s):
            self._close()
            return (Discard("no words"),)
        return ()

    def _maybe_commit(self, silence_s: float) -> tuple[TurnEvent, ...]:
        wait_s = self.wait_s()
        out: tuple[TurnEvent, ...] = ()
        if not self._preflight_fits and silence_s >= wait_s - self.config.preflight_before_end_s:
            out = self._preflight(early=False)
        ready = self._preflights.reply_is_ready(self._text.words)
        if silence_s + 1e-9 < wait_s or not (ready or silence_s >= wait_s + self._hold_s(wait_s)):
            return out
        reason = "reply ready" if ready else "held long enough"
        score = self._wait.score(self._text.words)
        self._committed = EndOfTurn(self._text.text, self._speech_ended_s, silence_s, wait_s, score, reason)
        self.state = TurnState.COMMITTED
        return (*out, self._committed)

    def _hold_s(self, wait_s: float) -> float:
        """How much longer than ``wait_s`` to listen while the reply is not ready.

        Before the model's pace allows a reply, listening costs nothing, and a user who goes on is not cut off.
        """
        c = self.config
        if self.reply_takes_s is None or not self._preflight_fits:
            return c.hold_for_reply_s
        ready_s = self._preflights.last_at_s + self.reply_takes_s - self._speech_ended_s
        return max(c.hold_for_reply_s, min(ready_s - wait_s, c.hold_for_expected_reply_s))

    def _maybe_preflight(self) -> tuple[TurnEvent, ...]:
        """A preflight as soon as the words are likely to be all of the turn."""
        c, text = self.config, self._text
        if self.agent_active or not text.words or self._preflight_fits:
            return ()
        score = self._wait.score(text.words)
        if score is None:
            return ()
        if self.state is TurnState.PAUSED and text.covers_s >= self._speech_ended_s - c.text_final_before_end_s:
            return self._preflight(early=False) if score >= c.score_unsure else ()
        left = self._preflights.early_left(self._now_s)
        if self.state is not TurnState.SPEAKING or not left:
            return ()
        energy_drop = self._speech_ended_s > self._loud_until_s
        covers_loud = text.covers_s >= self._loud_until_s - c.energy_drop_final_before_s
        if energy_drop and covers_loud and score >= c.score_energy_drop_preflight:
            return self._preflight(early=True)
        # The last one is kept for an energy drop: a text that was whole in mid-speech is seldom the final one.
        allowed = energy_drop or left > 1 or c.max_early_preflights == 1
        if text.stable_s >= c.early_preflight_stable_s and score >= c.score_early_preflight and allowed:
            return self._preflight(early=True)
        return ()

    def _preflight(self, *, early: bool) -> tuple[TurnEvent, ...]:
        """Without one left, LiveKit requests the reply at the end of the turn."""
        if not self._preflights.start(self._text.words, self._now_s, early=early):
            return ()
        return (Preflight(self._text.text, early),)

    def _begin(self, end_s: float, prefix: str = "") -> None:
        self._clear_turn(prefix)
        self.state = TurnState.SPEAKING
        self._speech_ended_s = self._loud_until_s = end_s

    def _close(self) -> None:
        self.state = TurnState.IDLE
        self._run = 0
        self._clear_turn()

    def _clear_turn(self, prefix: str = "") -> None:
        self._text.reset(prefix)
        self._preflights.reset()
        self._wait.reset()
        self._committed = None
