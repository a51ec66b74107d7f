"""The user speaks while the agent does: who keeps the floor? A pure policy: evidence in, decisions out, no clock.

The agent falls silent at once, whatever it was, and the doubt is settled while nobody talks over anybody. Words take
the floor; a cough, a click, a "mhm" or the agent's own echo give it back, and the reply goes on at the very sample.
Times are seconds of the user's audio, as in :mod:`.policy`.

What comes in::

    agent_began(now_s), agent_ended(now_s)     the agent's sound starts, is over (or was taken back)
    window(end_s, probability, hearing)        one VAD window (32 ms); hearing: the ears have an utterance open
    text(text, covers_s, now_s)                what was heard of the utterance so far, and up to where
    advance(now_s, hearing)                    time has passed

What comes out: :class:`Pause`, :class:`Resume`, :class:`Yield`, :class:`Drop`.

The one transition table::

    state   event                                         next    says
    ------  --------------------------------------------  ------  -------------------------------------------
    FREE    the agent's sound starts                      HOLDS
    any     the agent's sound is over                     FREE
    HOLDS   speech for start_windows (+ false alarms)     DOUBT   Pause
    HOLDS   words                                         FREE    Yield
    HOLDS   quiet for resume_after_s, utterance, no words HOLDS   Drop
    DOUBT   words                                         FREE    Yield
    DOUBT   quiet for resume_after_s, heard, no words     HOLDS   Resume, Drop (a false alarm)
    DOUBT   false_interruption_timeout_s without a word   HOLDS   Resume (a false alarm; still listened to)

*Words* are texts that :meth:`Words.judge` calls so and that could be said in the time; a lone word of less than half a
second only if it is a command ("stop"): so short, Whisper makes words of anything. "Quiet, heard" means that the text
covers all the speech, or that nobody listens (the sound was too short for an utterance). After each false alarm in one
reply it takes ``false_alarm_windows`` more to pause again: noise makes the agent stumble once, not at every key.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..config import InterruptionConfig
from .policy import words_of

ECHO_SHARE = 0.6  # of the words heard that the agent has just said
ECHO_WORDS = 8  # a single word is an echo if it is among so many of the agent's last
SHORT_WORD_S = 0.5  # a lone word shorter than that takes the floor only if it is a command
FASTEST_WORDS_A_S = 6.0  # more words than that in the sound there was are not heard but made up (Whisper's loops)
MOST_WINDOWS = 10  # 320 ms: however many false alarms, who speaks longer is listened to
WHISPERS_NOTHING = frozenset(
    {"you", "thank you", "thanks", "thank you for watching", "thanks for watching", "bye", "."}
)
"""What Whisper writes where nothing was said: texts of its training data's silent ends. Alone they are no words."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence the agent; nothing is lost."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on where it stopped. ``reason``: what the interruption turned out to be."""

    reason: str


@dataclass(frozen=True, slots=True)
class Yield:
    """The user has the floor: end the reply; what they say is a turn. ``text``: what told."""

    text: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the utterance: it is no turn."""

    reason: str


BargeInDecision = Pause | Resume | Yield | Drop


class State(enum.Enum):
    FREE = "free"
    HOLDS = "holds"
    DOUBT = "doubt"


class Words:
    """Tells words that take the floor from those that leave it with the speaker."""

    def __init__(self, config: InterruptionConfig) -> None:
        self._backchannels = {words_of(b) for b in config.backchannels.split(",")} - {""}
        self._commands = {words_of(c) for c in config.commands.split(",")} - {""}
        self._longest = max((len(b.split()) for b in self._backchannels), default=1)

    def is_backchannel(self, text: str) -> bool:
        """Nothing but back-channels, any number of them: "mhm", "yeah, right", "okay okay"."""
        words = words_of(text).split()
        at = 0
        while at < len(words):
            for n in range(min(self._longest, len(words) - at), 0, -1):
                if " ".join(words[at : at + n]) in self._backchannels:
                    at += n
                    break
            else:
                return False
        return bool(words)

    def is_command(self, text: str) -> bool:
        """A word that is said to stop somebody: "wait", "no"."""
        return words_of(text) in self._commands

    def judge(self, text: str, agent_text: str) -> str:
        """``words``, or what it is instead: ``nothing``, ``back-channel``, ``echo`` (of ``agent_text``)."""
        key = words_of(text)
        if not key or key in WHISPERS_NOTHING:
            return "nothing"
        if self.is_backchannel(text):
            return "back-channel"
        return "echo" if is_echo(key, words_of(agent_text)) else "words"


def is_echo(heard: str, said: str) -> bool:
    """Whether most of the words ``heard`` occur, in this order, in a stretch of what was ``said``.

    The stretch may be half longer than what was heard: an echo is misheard, not reworded.
    """
    mine, theirs = heard.split(), said.split()
    if len(mine) < 2 or len(theirs) < 2:
        return heard in theirs[-ECHO_WORDS:]
    span = len(mine) + (len(mine) + 1) // 2
    return any(_common(mine, theirs[i : i + span]) >= ECHO_SHARE * len(mine) for i in range(max(1, len(theirs) - 1)))


def _common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], previous + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


class InterruptionPolicy:
    """The policy for one speaker. Give it evidence in the order of time; act on what it returns."""

    def __init__(self, config: InterruptionConfig) -> None:
        self.config = config
        self.state = State.FREE
        self._words = Words(config)
        self._now = 0.0
        self._run = 0
        self._false_alarms = 0
        self._given_up = False  # the present stretch of sound has been paused for long enough
        self._paused_at_s = 0.0
        self._speech_began_s = self._speech_ended_s = -1.0
        self._text = ""
        self._covers_s = -1.0
        self._times_heard = 0  # hypotheses in a row that held words
        self._reply_left_s: float | None = None

    @property
    def holding(self) -> bool:
        """The agent has the floor, for certain or in doubt: no turn may be asked on or committed."""
        return self.state is not State.FREE

    def agent_began(self, now_s: float) -> None:
        """The agent can be heard. The user's present utterance, if any, is one over it."""
        self._now = max(self._now, now_s)
        if self.state is State.FREE:
            self.state = State.HOLDS
            self._run = self._false_alarms = 0
            self._forget()

    def agent_ended(self, now_s: float) -> None:
        """The reply is over: whatever the user says now is a turn like any other."""
        self._now = max(self._now, now_s)
        self.state = State.FREE
        self._forget()

    def window(
        self,
        end_s: float,
        probability: float,
        *,
        hearing: bool,
        agent_text: str = "",
        reply_left_s: float | None = None,
    ) -> tuple[BargeInDecision, ...]:
        """One VAD window that ends at ``end_s``. ``agent_text``: what the agent has said of late; ``reply_left_s``:
        how much of its reply is left to be heard (None: not known)."""
        self._now = max(self._now, end_s)
        speech = probability > self.config.speech_threshold
        self._run = self._run + 1 if speech else 0
        self._given_up = self._given_up and speech
        if self.state is State.FREE:
            return ()
        if speech:
            if self._speech_began_s < 0:
                self._speech_began_s = end_s - 0.032
            self._speech_ended_s = end_s
        if self.state is State.HOLDS and not self._given_up and self._run >= self._needed(probability):
            self.state = State.DOUBT
            self._paused_at_s = end_s
            self._reply_left_s = reply_left_s
            return (Pause(), *self._settle(hearing, agent_text))
        return self._settle(hearing, agent_text)

    def text(self, text: str, covers_s: float, now_s: float, *, agent_text: str = "") -> tuple[BargeInDecision, ...]:
        """A hypothesis of the whole utterance, made from the audio up to ``covers_s``."""
        self._now = max(self._now, now_s)
        if self.state is State.FREE:
            return ()
        self._text, self._covers_s = text, covers_s
        self._times_heard = self._times_heard + 1 if self._kind(agent_text) == "words" else 0
        return self._settle(True, agent_text)

    def advance(self, now_s: float, *, hearing: bool, agent_text: str = "") -> tuple[BargeInDecision, ...]:
        """Time has passed."""
        self._now = max(self._now, now_s)
        return () if self.state is State.FREE else self._settle(hearing, agent_text)

    # --- decisions ------------------------------------------------------------------------------------------------

    def _needed(self, probability: float) -> int:
        c = self.config
        windows = 1 if probability >= c.sure_threshold and not self._false_alarms else c.start_windows
        return min(windows + self._false_alarms * c.false_alarm_windows, MOST_WINDOWS)

    def _settle(self, hearing: bool, agent_text: str) -> tuple[BargeInDecision, ...]:
        c = self.config
        kind = self._kind(agent_text)
        heard_all = self._covers_s >= self._speech_ended_s > 0
        if kind == "words" and self._is_sure(heard_all):
            return self._yield()
        quiet = self._speech_ended_s >= 0 and self._now - self._speech_ended_s >= c.resume_after_s
        if quiet and (heard_all or not hearing):
            if kind == "words":  # one word, heard once, and then nothing: "stop" and "no" are such
                return self._yield()
            if kind == "back-channel" and self._answers():
                return self._yield()
            return self._false_alarm(kind, drop=hearing)
        if (
            self.state is State.DOUBT
            and self._now - self._paused_at_s >= c.false_interruption_timeout_s
            and kind != "words"
        ):
            self.state = State.HOLDS
            self._false_alarms += 1
            self._given_up = True
            return (Resume("sound without words"),)
        return ()

    def _kind(self, agent_text: str) -> str:
        kind = self._words.judge(self._text, agent_text)
        if kind == "words" and self._speech_began_s >= 0:
            length_s = self._speech_ended_s - self._speech_began_s
            words = len(words_of(self._text).split())
            if words > max(1.0, FASTEST_WORDS_A_S * length_s):
                return "nothing"
            if words == 1 and length_s < SHORT_WORD_S and not self._words.is_command(self._text):
                return "a short sound"
        return kind

    def _is_sure(self, heard_all: bool) -> bool:
        """Several words, or the same evidence twice, or the utterance's end heard: it is no slip of the ears."""
        return len(words_of(self._text).split()) >= self.config.min_words or self._times_heard >= 2 or heard_all

    def _answers(self) -> bool:
        """The "yes" came over the reply's last word: it was an answer."""
        return self._reply_left_s is not None and self._reply_left_s <= self.config.last_words_s

    def _yield(self) -> tuple[BargeInDecision, ...]:
        text, self.state = self._text, State.FREE
        self._forget()
        return (Yield(text),)

    def _false_alarm(self, kind: str, *, drop: bool) -> tuple[BargeInDecision, ...]:
        paused, self.state = self.state is State.DOUBT, State.HOLDS
        self._forget()
        self._false_alarms += paused
        reason = "no words" if kind == "nothing" else kind
        return (*((Resume(reason),) if paused else ()), *((Drop(reason),) if drop else ()))

    def _forget(self) -> None:
        self._text, self._covers_s, self._times_heard = "", -1.0, 0
        self._speech_began_s = self._speech_ended_s = -1.0
        self._reply_left_s = None
