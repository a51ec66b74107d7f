"""When each word is heard: the voice's own durations, given to the words of the text as it was written. Pure.

Piper's graph decides how many frames each phoneme lasts before it makes a sound, so the times are exact; what is not
exact is which phonemes are which word's: espeak says "of the" in one breath and "42" in two words. So groups of
phonemes (what stands between two spaces) and written words are matched in order, by length, as Gale and Church match
the sentences of two languages (https://aclanthology.org/J93-1004).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*\S+\s*")
_MOVES = ((1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (1, 4), (4, 1), (1, 0), (0, 1))  # words, groups
_UNEVEN = 0.6  # what it costs to match other than one to one
_MISSING = 4.0  # what it costs that a word has no sound, or a sound no word


@dataclass(frozen=True, slots=True)
class Group:
    """Phonemes said in one breath: how many, and when, in seconds of the sentence's sound."""

    phonemes: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a written word is: in groups ``first`` to ``last`` (inclusive), from one share of them to another."""

    text: str
    first: int
    last: int
    share_from: float = 0.0
    share_to: float = 1.0


def written(text: str) -> list[str]:
    """The words of ``text`` with the spaces behind them; put together they are the text again."""
    words: list[str] = _TOKEN.findall(text)
    return words if words else ([text] if text else [])


def match(words: Sequence[str], phonemes: Sequence[int]) -> list[Place]:
    """Where each of ``words`` is in groups of that many ``phonemes``: one place a word, in order.

    Nothing for no groups. Time and memory grow with words x groups.
    """
    if not words or not phonemes:
        return []
    weights = [_weight(w) for w in words]
    scale = sum(phonemes) / max(sum(weights), 1.0)
    lengths = [w * scale for w in weights]
    infinite = float("inf")
    best = [[infinite] * (len(phonemes) + 1) for _ in range(len(words) + 1)]
    came = [[(0, 0)] * (len(phonemes) + 1) for _ in range(len(words) + 1)]
    best[0][0] = 0.0
    for i in range(len(words) + 1):
        for j in range(len(phonemes) + 1):
            if best[i][j] == infinite:
                continue
            for m, n in _MOVES:
                if i + m > len(words) or j + n > len(phonemes):
                    continue
                a, b = sum(lengths[i : i + m]), float(sum(phonemes[j : j + n]))
                cost = best[i][j] + (_MISSING if 0 in (m, n) else abs(a - b) / (a + b) ** 0.5 + _UNEVEN * (m + n - 2))
                if cost < best[i + m][j + n]:
                    best[i + m][j + n], came[i + m][j + n] = cost, (m, n)
    i, j = len(words), len(phonemes)
    places: list[Place] = []
    while i > 0 or j > 0:
        m, n = came[i][j]
        i, j = i - m, j - n
        total, at = sum(weights[i : i + m]) or 1.0, 0.0
        run: list[Place] = []
        for k in range(i, i + m):
            to = at + weights[k] / total
            if n:
                run.append(Place(words[k], j, j + n - 1, at, to))
            else:  # a word without a sound is heard with what comes before it
                run.append(Place(words[k], max(j - 1, 0), max(j - 1, 0), 1.0, 1.0))
            at = to
        places = run + places
    return places


def _weight(word: str) -> float:
    """How long a word is said to be, in letters: digits and symbols are read out."""
    letters = sum(c.isalpha() for c in word)
    digits = sum(c.isdigit() for c in word)
    return letters + 4.0 * digits + 4.0 * sum(c in "$%€£&+=@#" for c in word) + 0.5


class WordTimes:
    """The words of one chunk of text, each given out once its time is known: (text, start, end) in seconds.

    ``begins_s``: where the chunk's sound begins in the reply's.
    """

    def __init__(self, text: str, begins_s: float) -> None:
        self._words = written(text)
        self._begins_s = begins_s
        self._places: list[Place] = []
        self._times: dict[int, tuple[float, float]] = {}  # of each group of phonemes, in seconds of the chunk
        self._done = 0
        self._length_s = 0.0

    def sentence(self, groups: Sequence[Group], phonemes: Sequence[int], first_group: int, length_s: float) -> None:
        """A piece of sound was made, ``length_s`` long. If a sentence begins with it: when its groups are heard, how
        many phonemes each group of the whole text has, and which is the sentence's first."""
        if phonemes and not self._places:
            self._places = match(self._words, phonemes)
        for number, group in enumerate(groups, first_group):
            self._times[number] = (self._length_s + group.start_s, self._length_s + group.end_s)
        self._length_s += length_s

    def take(self, *, skipped_s: float) -> list[tuple[str, float, float]]:
        """The words whose times are known and were not given out yet. ``skipped_s`` was cut off the chunk's start."""
        out: list[tuple[str, float, float]] = []
        for place in self._places[self._done :]:
            if place.last not in self._times:
                break
            start, end = self._times[place.first][0], self._times[place.last][1]
            shift, length = self._begins_s - skipped_s + start, end - start
            out.append((place.text, shift + length * place.share_from, shift + length * place.share_to))
        self._done += len(out)
        return out

    def rest(self, until_s: float) -> list[tuple[str, float, float]]:
        """Whatever is left, at the chunk's end: a voice that does not tell its times has its words spread evenly."""
        left = self._words[self._done :]
        start = self._begins_s if not self._done else until_s
        step = (until_s - start) / max(len(left), 1)
        self._done = len(self._words)
        return [(text, start + step * n, start + step * (n + 1)) for n, text in enumerate(left)]
