"""The text of the present turn, and how texts are compared."""

from __future__ import annotations

import re


def words_of(text: str) -> str:
    """The words alone, for comparing texts: case and punctuation are Whisper's guess, not what was said."""
    return " ".join(re.sub(r"[^\w' ]", " ", text.replace("-", " ").casefold()).split())


class TurnText:
    """All words of the turn so far. ``words``: without case and punctuation; ``covers_s``: end of the audio they come
    from; ``stable_from_s``: end of the audio with which these words first came."""

    def __init__(self) -> None:
        self.text = self.words = self._prefix = ""
        self.covers_s = -1.0
        self.stable_from_s = 0.0

    def reset(self, prefix: str = "") -> None:
        """A turn begins; ``prefix``: the text of the turn that is reopened."""
        self.text = self._prefix = prefix
        self.words = words_of(prefix)
        self.covers_s = -1.0

    def update(self, text: str, covers_s: float) -> None:
        """A hypothesis of everything after the prefix."""
        whole = f"{self._prefix} {text}".strip() if text else self._prefix
        words = words_of(whole)
        if words != self.words:
            self.stable_from_s = covers_s
        self.text, self.words, self.covers_s = whole, words, covers_s

    @property
    def stable_s(self) -> float:
        """How much audio has confirmed the present words."""
        return self.covers_s - self.stable_from_s
