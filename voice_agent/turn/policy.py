"""When has the user finished? A pure policy: evidence in, decisions out, time as an argument.

Nothing here waits, reads a clock or knows a model. Times are seconds of audio heard so far (samples / rate), so a
recorded conversation replays through it in microseconds and gives the same decisions.

What comes in::

    window(end_s, probability, fading)  one VAD window (32 ms); the voice is fading (turn/fading.py)
    text(text, covers_s, now_s)         a hypothesis, and up to where it has heard
    completeness(text, score, now_s)    log-probability that the sentence may end here (turn/completeness.py)
    acoustic(probability, now_s)        an acoustic end-of-turn model's opinion of the present pause
    reply_ready(now_s)                  the provisional reply has its first audio
    audible(now_s)                      the agent's reply can be heard: too late to reopen
    reply_takes_s                       (attribute) the model's pace: no reply is ready sooner after a request
    advance(now_s)                      time has passed
    discard(reason)                     what is being heard is no turn (turn/interruption.py; see also ``held``)

What comes out: :class:`SpeechStarted`, :class:`Preflight`, :class:`CancelPreflight`, :class:`EndOfTurn`,
:class:`Reopen`,
:class:`Discard`.

The one transition table::

    state      event                             next       says
    ---------  --------------------------------  ---------  --------------------------------------------
    IDLE       speech for start_windows          SPEAKING   SpeechStarted
    SPEAKING   window without speech             PAUSED
    SPEAKING   whole text, asks left, and        SPEAKING   Ask (early)
               stable, or heard all but fading
    any        two texts that differ from asked  same       Withdraw
    PAUSED     speech                            SPEAKING
    PAUSED     text that covers the speech       PAUSED     Ask (unless already asked on the same words)
    PAUSED     wait over, reply ready or held    COMMITTED  Commit
    PAUSED     no words in no_words_timeout_s    IDLE       Discard
    COMMITTED  speech, reply not audible yet     SPEAKING   Reopen
    COMMITTED  audible, or reopen_s over         IDLE
    COMMITTED  speech after audible              SPEAKING   SpeechStarted
"""

from __future__ import annotations

import enum
import re

from ..config import TurnConfig
from ..turn_events import CancelPreflight, Discard, EndOfTurn, Preflight, Reopen, SpeechStarted, TurnEvent


class State(enum.Enum):
    IDLE = "idle"
    SPEAKING = "speaking"
    PAUSED = "paused"
    COMMITTED = "committed"


def words_of(text: str) -> str:
    """The words alone, for comparing texts: case and punctuation are Whisper's guess, not what was said."""
    return " ".join(re.sub(r"[^\w' ]", " ", text.replace("-", " ").casefold()).split())


class TurnPolicy:
    """The policy for one speaker. Give it evidence in the order of time; act on what it returns."""

    def __init__(self, config: TurnConfig) -> None:
        self.config = config
        self.state = State.IDLE
        self.held = False  # the agent has the floor: nothing is asked, committed or reopened (turn/interruption.py)
        self.reply_takes_s: float | None = None  # sooner than this after a request no reply is ready (measured)
        self._now = 0.0
        self._run = 0  # consecutive windows with speech
        self._speech_started_s = 0.0
        self._speech_ended_s = 0.0
        self._loud_until_s = 0.0
        self._text = ""
        self._key = ""  # its words alone
        self._covers_s = -1.0
        self._stable_from_s = 0.0  # audio heard when these words first came up
        self._asked: str | None = None
        self._strayed = 0  # hypotheses in a row that differ from what was asked on
        self._asks_early = 0
        self._asks = 0
        self._last_ask_s = -1.0
        self._scores: dict[str, float] = {}
        self._acoustic: float | None = None
        self._ready_for: str | None = None  # the words whose reply could be heard at once
        self._inner_pauses: list[float] = []  # pauses inside this turn after which the user went on
        self._usual_pause_s = 0.0  # the same, remembered over turns
        self._committed: EndOfTurn | None = None
        self._prefix = ""

    # --- what the stream asks -------------------------------------------------------------------------------------

    @property
    def speech_ended_s(self) -> float:
        """End of the last window with speech."""
        return self._speech_ended_s

    @property
    def loud_until_s(self) -> float:
        """End of the last window with speech that was not fading."""
        return self._loud_until_s

    @property
    def wants_confirmation(self) -> bool:
        """The words look whole and have not been asked on: once more the same, and they are."""
        score = self._scores.get(self._key)
        likely = score is not None and score >= self.config.score_early_preflight
        return self.state is State.SPEAKING and likely and not self.held and not self._fits_asked

    @property
    def present_text(self) -> str:
        """All that was said in this turn, as far as it has been heard."""
        return self._text

    @property
    def in_speech(self) -> bool:
        """A turn is open: hypotheses are wanted."""
        return self.state in (State.SPEAKING, State.PAUSED)

    @property
    def _fits_asked(self) -> bool:
        """The reply that was asked for last answers the present words."""
        return self._asked is not None and self._asked == self._key

    @property
    def _reply_is_ready(self) -> bool:
        return self._ready_for is not None and self._ready_for == self._asked and self._fits_asked

    @property
    def _score(self) -> float | None:
        """The present words' score; None until there is one."""
        return self._scores.get(self._key)

    def wait_s(self) -> float:
        """How much silence the present evidence asks for."""
        c = self.config
        score = self._score
        if score is None:
            wait = c.wait_unsure_s
        elif score >= c.score_sure:
            wait = c.wait_sure_s
        elif score >= c.score_unsure:
            wait = _between(score, c.score_unsure, c.score_sure, c.wait_unsure_s, c.wait_sure_s)
        elif score >= c.score_unfinished:
            wait = _between(score, c.score_unfinished, c.score_unsure, c.wait_unfinished_s, c.wait_unsure_s)
        else:
            wait = c.wait_unfinished_s
        if self._acoustic is not None and wait < c.wait_unfinished_s:
            if self._acoustic <= c.acoustic_unfinished:
                wait = max(wait, c.wait_unsure_s)
            elif self._acoustic >= c.acoustic_sure and wait > c.wait_sure_s:
                wait = max(c.wait_sure_s, 0.7 * wait)
        if self._inner_pauses and wait < c.wait_unsure_s:  # a list, a speaker who thinks: wait as long as they do
            wait = max(wait, min(c.pause_factor * max(self._inner_pauses), c.wait_after_pauses_s))
        if wait < c.wait_after_pauses_s:
            wait = max(wait, min(c.usual_pause_factor * self._usual_pause_s, c.wait_after_pauses_s))
        return wait * c.patience_factor

    # --- evidence -------------------------------------------------------------------------------------------------

    def window(
        self, end_s: float, probability: float, window_s: float = 0.032, energy_drop: bool = False
    ) -> tuple[TurnEvent, ...]:
        """One VAD window that ends at ``end_s`` with the given speech probability; ``energy_drop``: softer than
        before."""
        self._now = max(self._now, end_s)
        speech = probability > self.config.speech_threshold
        self._run = self._run + 1 if speech else 0
        if self.state is State.IDLE:
            return self._maybe_start(end_s, window_s)
        if self.state is State.COMMITTED:
            if self._run >= self.config.start_windows:
                return self._resume_committed(end_s, window_s)
            return self.advance(end_s)
        if speech:
            if self.state is State.PAUSED:
                pause = end_s - window_s - self._speech_ended_s
                if pause >= self.config.min_pause_s:
                    self._inner_pauses.append(pause)
                    self._usual_pause_s += 0.3 * (pause - self._usual_pause_s)
                self._acoustic = None
                self.state = State.SPEAKING
            self._speech_ended_s = end_s
            if energy_drop:
                return self._maybe_ask()
            self._loud_until_s = end_s
            return ()
        if self.state is State.SPEAKING:
            self.state = State.PAUSED
            return self._maybe_ask() + self.advance(end_s)
        return self.advance(end_s)

    def text(self, text: str, covers_s: float, now_s: float) -> tuple[TurnEvent, ...]:
        """A hypothesis of everything said in this turn, made from the audio up to ``covers_s``."""
        self._now = max(self._now, now_s)
        if not self.in_speech:
            return ()
        whole = f"{self._prefix} {text}".strip() if text else self._prefix
        key = words_of(whole)
        if key != self._key:
            self._stable_from_s = covers_s
        self._text, self._key, self._covers_s = whole, key, covers_s
        return self._stray() + self._maybe_ask() + self.advance(now_s)

    def completeness(self, text: str, score: float, now_s: float) -> tuple[TurnEvent, ...]:
        """The judge's score for ``text`` (whole turn so far); kept for as long as the turn lasts."""
        self._now = max(self._now, now_s)
        self._scores[words_of(text)] = score
        return (self._maybe_ask() + self.advance(now_s)) if self.in_speech else ()

    def acoustic(self, probability: float, now_s: float) -> tuple[TurnEvent, ...]:
        """An acoustic model's probability that the turn ends with the present pause."""
        if self.state is State.PAUSED:
            self._acoustic = probability
            return self.advance(now_s)
        return ()

    def reply_ready(self, text: str, now_s: float) -> tuple[TurnEvent, ...]:
        """The reply asked for on ``text`` could be heard at once."""
        if self._asked is not None and words_of(text) == self._asked:
            self._ready_for = self._asked
        return self.advance(now_s) if self.state is State.PAUSED else ()

    def audible(self, now_s: float) -> tuple[TurnEvent, ...]:
        """The agent's reply to the committed turn can be heard."""
        if self.state is State.COMMITTED:
            self._close()
        return ()

    def advance(self, now_s: float) -> tuple[TurnEvent, ...]:
        """Time has passed: is a wait over?"""
        self._now = max(self._now, now_s)
        silence = self._now - self._speech_ended_s
        c = self.config
        if self.state is State.PAUSED:
            if not self._text or self._covers_s < self._speech_ended_s:
                heard_all = self._covers_s >= self._speech_ended_s
                if silence >= c.no_words_timeout_s and (heard_all or silence >= 10 * c.no_words_timeout_s):
                    self._close()
                    return (Discard("no words"),)
                return ()
            if self.held:
                return ()
            wanted = self.wait_s()
            out: tuple[TurnEvent, ...] = ()
            if not self._fits_asked and silence >= wanted - c.preflight_before_end_s:
                out = self._ask(early=False)
            if silence + 1e-9 >= wanted and (self._reply_is_ready or silence >= wanted + self._hold_s(wanted)):
                return (*out, self._commit(silence, wanted))
            return out
        if self.state is State.COMMITTED and silence >= c.reopen_s:
            self._close()
        return ()

    def _hold_s(self, wanted: float) -> float:
        """How much longer than ``wanted`` to listen while the reply is not ready. Before the model's usual pace says
        that it can be, listening costs nothing: whoever goes on meanwhile is not cut off."""
        c = self.config
        if self.reply_takes_s is None or not self._fits_asked:
            return c.hold_for_reply_s
        ready = self._last_ask_s + self.reply_takes_s - self._speech_ended_s
        return max(c.hold_for_reply_s, min(ready - wanted, c.hold_for_expected_reply_s))

    def discard(self, reason: str) -> tuple[TurnEvent, ...]:
        """Somebody else has decided that what is being heard is no turn."""
        if not self.in_speech:
            return ()
        self._close()
        return (Discard(reason),)

    # --- decisions ------------------------------------------------------------------------------------------------

    def _maybe_start(self, end_s: float, window_s: float) -> tuple[TurnEvent, ...]:
        if self._run < self.config.start_windows:
            return ()
        self._begin(end_s, window_s)
        return (SpeechStarted(self._speech_started_s),)

    def _begin(self, end_s: float, window_s: float) -> None:
        self._clear_turn()
        self.state = State.SPEAKING
        self._speech_started_s = end_s - self._run * window_s
        self._speech_ended_s = self._loud_until_s = end_s

    def _resume_committed(self, end_s: float, window_s: float) -> tuple[TurnEvent, ...]:
        committed = self._committed
        assert committed is not None
        self._begin(end_s, window_s)
        self._prefix = self._text = committed.text
        self._key = words_of(committed.text)
        return (Reopen(committed.text),)

    def _stray(self) -> tuple[TurnEvent, ...]:
        """Whisper's last word flickers ("forwarded", "forward", "forwarded"): one other text does not end a request."""
        if self._asked is None or self._fits_asked:
            self._strayed = 0
            return ()
        self._strayed += 1
        if self._strayed < 2:
            return ()
        self._asked = self._ready_for = None
        return (CancelPreflight(),)

    def _maybe_ask(self) -> tuple[TurnEvent, ...]:
        """Ask ahead of the commit: as soon as the words are likely to be all of them."""
        c = self.config
        if self.held or not self._key or self._fits_asked:
            return ()
        score = self._scores.get(self._key)
        if self.state is State.PAUSED and self._covers_s >= self._speech_ended_s - c.text_final_before_end_s:
            return self._ask(early=False) if score is not None and score >= c.score_unsure else ()
        if self.state is not State.SPEAKING or score is None or self._asks_early >= c.max_early_preflights:
            return ()
        if self._now - self._last_ask_s < c.early_preflight_spacing_s:
            return ()
        stable = self._covers_s - self._stable_from_s >= c.early_preflight_stable_s
        energy_drop = self._speech_ended_s > self._loud_until_s
        heard_all = self._covers_s >= self._loud_until_s - c.energy_drop_final_before_s
        if energy_drop and heard_all and score >= c.score_energy_drop_preflight:
            return self._ask(early=True)
        # The last of them is kept for when the voice fades: a text that was whole in mid-speech seldom is the last one.
        if (
            stable
            and score >= c.score_early_preflight
            and (energy_drop or self._asks_early < max(1, c.max_early_preflights - 1))
        ):
            return self._ask(early=True)
        return ()

    def _ask(self, *, early: bool) -> tuple[TurnEvent, ...]:
        if self._asks >= self.config.max_preflights:
            return ()  # the commit itself asks then: LiveKit generates when nothing provisional fits
        self._asked = self._key
        self._asks += 1
        self._asks_early += early
        self._last_ask_s = self._now
        self._ready_for = None
        self._strayed = 0
        return (Preflight(self._text, early),)

    def _commit(self, silence: float, wanted: float) -> EndOfTurn:
        reason = "reply ready" if self._reply_is_ready else "held long enough"
        self._committed = EndOfTurn(
            self._text, self._speech_ended_s, silence, wanted, self._score, self._acoustic, reason
        )
        self.state = State.COMMITTED
        return self._committed

    def _close(self) -> None:
        self.state = State.IDLE
        self._run = 0
        self._clear_turn()

    def _clear_turn(self) -> None:
        self._text, self._key, self._covers_s, self._prefix = "", "", -1.0, ""
        self._asked, self._asks, self._asks_early, self._last_ask_s = None, 0, 0, -1.0
        self._scores.clear()
        self._acoustic, self._ready_for, self._committed = None, None, None
        self._inner_pauses.clear()


def _between(x: float, x0: float, x1: float, y0: float, y1: float) -> float:
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
