"""The user speaks while the agent does: is it an interruption? A pure policy: evidence in, decisions out, no clock.

The agent's sound is paused at once, so that the question is settled while nobody talks over anybody. Words end the
reply; a cough, a click, a "mhm" or the agent's own echo do not, and the reply goes on at the sample where it stopped.
Times are seconds of the user's audio, as in :mod:`.turn_policy`.

Evidence::

    agent_began(now_s), agent_ended(now_s)     the agent's sound starts, is over (or was taken back)
    window(end_s, probability, in_turn)        one VAD window (32 ms); in_turn: the STT has an open turn
    text(text, covers_s, now_s)                a hypothesis of the turn, and the end of the audio it was made from
    advance(now_s, in_turn)                    time has passed

Decisions: :class:`Pause`, :class:`Resume`, :class:`Yield`, :class:`Drop`.

The one transition table::

    state     event                                           next      decision
    --------  ----------------------------------------------  --------  --------------------------------
    SILENT    the agent's sound starts                        SPEAKING
    any       the agent's sound is over                       SILENT
    SPEAKING  speech for start_windows (+ false alarms)       PAUSED    Pause
    SPEAKING  words                                           SILENT    Yield
    SPEAKING  quiet for resume_after_s, open turn, no words   SPEAKING  Drop
    PAUSED    words                                           SILENT    Yield
    PAUSED    quiet for resume_after_s, transcribed, no words SPEAKING  Resume, Drop (a false alarm)
    PAUSED    false_interruption_timeout_s without a word     SPEAKING  Resume (a false alarm; the turn stays open)

*Words*: :class:`.speech_kind.SpeechClassifier`. *Transcribed*: the text covers all of the speech, or no turn is open
(the sound was too short). After each false alarm in one reply it takes ``false_alarm_windows`` more to pause again, so
that a keyboard pauses the agent once, not at every key.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..config import InterruptionConfig
from .speech_kind import SpeechClassifier, SpeechKind
from .turn_text import words_of

MOST_WINDOWS = 10
"""At most so many windows (320 ms) until the agent is paused, after any number of false alarms."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause the agent's sound; nothing of it is lost."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on where it stopped. ``reason``: what the sound turned out to be."""

    reason: str


@dataclass(frozen=True, slots=True)
class Yield:
    """The user interrupts: end the reply; what they say is a turn. ``text``: the words that showed it."""

    text: str


@dataclass(frozen=True, slots=True)
class Drop:
    """The present speech is no turn."""

    reason: str


BargeInDecision = Pause | Resume | Yield | Drop


class BargeInState(enum.Enum):
    """Of the agent's sound."""

    SILENT = "silent"
    SPEAKING = "speaking"
    PAUSED = "paused"


class _UserSpeech:
    """What the user has said over the agent so far. Times are -1 before there is any."""

    def __init__(self) -> None:
        self.began_s = self.ended_s = -1.0
        self.text = ""
        self.covers_s = -1.0
        self.texts_with_words = 0  # in a row

    @property
    def length_s(self) -> float | None:
        return self.ended_s - self.began_s if self.began_s >= 0 else None

    @property
    def transcribed(self) -> bool:
        return self.covers_s >= self.ended_s > 0


class BargeInPolicy:
    """The policy for one speaker. Give it evidence in the order of time; act on the decisions."""

    def __init__(self, config: InterruptionConfig) -> None:
        self.config = config
        self.state = BargeInState.SILENT
        self._classifier = SpeechClassifier(config)
        self._speech = _UserSpeech()
        self._now_s = 0.0
        self._run = 0  # consecutive windows with speech
        self._false_alarms = 0
        self._ignored = False  # the present stretch of sound has paused the agent for long enough
        self._paused_at_s = 0.0
        self._reply_left_s: float | None = None

    @property
    def agent_active(self) -> bool:
        """The agent speaks or is paused: no turn may be preflighted or end."""
        return self.state is not BargeInState.SILENT

    def agent_began(self, now_s: float) -> None:
        """The agent can be heard. Speech of the user from now on is speech over it."""
        self._now_s = max(self._now_s, now_s)
        if self.state is BargeInState.SILENT:
            self.state = BargeInState.SPEAKING
            self._run = self._false_alarms = 0
            self._forget()

    def agent_ended(self, now_s: float) -> None:
        """The reply is over: what the user says now is a turn like any other."""
        self._now_s = max(self._now_s, now_s)
        self.state = BargeInState.SILENT
        self._forget()

    def window(
        self,
        end_s: float,
        probability: float,
        *,
        in_turn: bool,
        agent_text: str = "",
        reply_left_s: float | None = None,
    ) -> tuple[BargeInDecision, ...]:
        """One VAD window that ends at ``end_s``. ``agent_text``: what the agent has said of late; ``reply_left_s``:
        how much of its reply is left to be heard (None: not known)."""
        self._now_s = max(self._now_s, end_s)
        is_speech = probability > self.config.speech_threshold
        self._run = self._run + 1 if is_speech else 0
        self._ignored = self._ignored and is_speech
        if self.state is BargeInState.SILENT:
            return ()
        if is_speech:
            if self._speech.began_s < 0:
                self._speech.began_s = end_s - 0.032
            self._speech.ended_s = end_s
        if self.state is BargeInState.SPEAKING and not self._ignored and self._run >= self._needed(probability):
            self.state = BargeInState.PAUSED
            self._paused_at_s = end_s
            self._reply_left_s = reply_left_s
            return (Pause(), *self._settle(in_turn, agent_text))
        return self._settle(in_turn, agent_text)

    def text(self, text: str, covers_s: float, now_s: float, *, agent_text: str = "") -> tuple[BargeInDecision, ...]:
        """A hypothesis of the whole turn, made from the audio up to ``covers_s``."""
        self._now_s = max(self._now_s, now_s)
        if self.state is BargeInState.SILENT:
            return ()
        speech = self._speech
        speech.text, speech.covers_s = text, covers_s
        speech.texts_with_words = speech.texts_with_words + 1 if self._kind(agent_text) is SpeechKind.WORDS else 0
        return self._settle(True, agent_text)

    def advance(self, now_s: float, *, in_turn: bool, agent_text: str = "") -> tuple[BargeInDecision, ...]:
        """Time has passed."""
        self._now_s = max(self._now_s, now_s)
        return () if self.state is BargeInState.SILENT else self._settle(in_turn, agent_text)

    # --- decisions ------------------------------------------------------------------------------------------------

    def _needed(self, probability: float) -> int:
        """Windows with speech that pause the agent."""
        c = self.config
        windows = 1 if probability >= c.sure_threshold and not self._false_alarms else c.start_windows
        return min(windows + self._false_alarms * c.false_alarm_windows, MOST_WINDOWS)

    def _settle(self, in_turn: bool, agent_text: str) -> tuple[BargeInDecision, ...]:
        c, speech = self.config, self._speech
        kind = self._kind(agent_text)
        if kind is SpeechKind.WORDS and self._is_sure():
            return self._yield()
        quiet = speech.ended_s >= 0 and self._now_s - speech.ended_s >= c.resume_after_s
        if quiet and (speech.transcribed or not in_turn):
            # One word, transcribed once, and then nothing: "stop" and "no" are such.
            if kind is SpeechKind.WORDS or (kind is SpeechKind.BACKCHANNEL and self._is_answer()):
                return self._yield()
            return self._false_alarm(kind, drop=in_turn)
        timeout = self._now_s - self._paused_at_s >= c.false_interruption_timeout_s
        if self.state is BargeInState.PAUSED and timeout and kind is not SpeechKind.WORDS:
            self.state = BargeInState.SPEAKING
            self._false_alarms += 1
            self._ignored = True
            return (Resume("sound without words"),)
        return ()

    def _kind(self, agent_text: str) -> SpeechKind:
        return self._classifier.kind(self._speech.text, agent_text, self._speech.length_s)

    def _is_sure(self) -> bool:
        """Several words, or words in two texts in a row, or a text of all of the speech: no error of the STT."""
        speech = self._speech
        enough = len(words_of(speech.text).split()) >= self.config.min_words
        return enough or speech.texts_with_words >= 2 or speech.transcribed

    def _is_answer(self) -> bool:
        """A "yes" over the last word of the reply is an answer."""
        return self._reply_left_s is not None and self._reply_left_s <= self.config.last_words_s

    def _yield(self) -> tuple[BargeInDecision, ...]:
        text, self.state = self._speech.text, BargeInState.SILENT
        self._forget()
        return (Yield(text),)

    def _false_alarm(self, kind: SpeechKind, *, drop: bool) -> tuple[BargeInDecision, ...]:
        paused, self.state = self.state is BargeInState.PAUSED, BargeInState.SPEAKING
        self._forget()
        self._false_alarms += paused
        return (*((Resume(kind.value),) if paused else ()), *((Drop(kind.value),) if drop else ()))

    def _forget(self) -> None:
        self._speech = _UserSpeech()
        self._reply_left_s = None
