"""What the user said over the agent: words that interrupt, a back-channel, the agent's echo, or nothing."""

from __future__ import annotations

import enum

from ..config import InterruptionConfig
from .turn_text import words_of

ECHO_SHARE = 0.6
"""A text is an echo if this share of its words is the agent's."""
ECHO_WORDS = 8
"""A single word is an echo if it is among so many of the agent's last."""
SHORT_WORD_S = 0.5
"""A lone word shorter than this interrupts only if it is a command: from so short a sound Whisper makes any word."""
FASTEST_WORDS_PER_S = 6.0
"""More words than this in the time are one of Whisper's loops."""
WHISPERS_NOTHING = frozenset(
    {"you", "thank you", "thanks", "thank you for watching", "thanks for watching", "bye", "."}
)
"""What Whisper writes for silence: texts of its training data's silent ends. Alone they count as nothing."""


class SpeechKind(enum.Enum):
    """The values are the reasons in decisions."""

    WORDS = "words"
    NOTHING = "no words"
    BACKCHANNEL = "back-channel"
    ECHO = "echo"
    SHORT_SOUND = "a short sound"


class SpeechClassifier:
    """Classifies texts by the back-channels and commands of the configuration."""

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
        """A word that stops somebody: "wait", "no"."""
        return words_of(text) in self._commands

    def kind(self, text: str, agent_text: str, length_s: float | None) -> SpeechKind:
        """``agent_text``: what the agent said of late; ``length_s``: length of the speech (None: not known)."""
        key = words_of(text)
        if not key or key in WHISPERS_NOTHING:
            return SpeechKind.NOTHING
        if self.is_backchannel(text):
            return SpeechKind.BACKCHANNEL
        if is_echo(key, words_of(agent_text)):
            return SpeechKind.ECHO
        if length_s is not None:
            words = len(key.split())
            if words > max(1.0, FASTEST_WORDS_PER_S * length_s):
                return SpeechKind.NOTHING
            if words == 1 and length_s < SHORT_WORD_S and not self.is_command(text):
                return SpeechKind.SHORT_SOUND
        return SpeechKind.WORDS


def is_echo(heard: str, said: str) -> bool:
    """Whether most words of ``heard`` occur in order in a stretch of ``said`` (both as :func:`.turn_text.words_of`).

    The stretch may be half longer than ``heard``: an echo is misheard, not reworded.
    """
    ours, agents = heard.split(), said.split()
    if len(ours) < 2 or len(agents) < 2:
        return heard in agents[-ECHO_WORDS:]
    span = len(ours) + (len(ours) + 1) // 2
    starts = range(max(1, len(agents) - 1))
    return any(_common_length(ours, agents[i : i + span]) >= ECHO_SHARE * len(ours) for i in starts)


def _common_length(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], previous + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]
