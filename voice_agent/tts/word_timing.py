"""Word timing: start and end of each written word, from the voice's phoneme durations. Pure.

Piper's graph computes how many frames each phoneme lasts before it makes audio, so those times are exact. Which
phonemes belong to which word is not: espeak says "of the" as one group and "42" as two. So groups of phonemes (between
two spaces) and written words are aligned in order, by length, as Gale and Church align the sentences of two languages
(https://aclanthology.org/J93-1004).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*\S+\s*")
_MOVES = ((1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (1, 4), (4, 1), (1, 0), (0, 1))  # words, groups
_UNEVEN = 0.6  # cost of a match other than one to one
_MISSING = 4.0  # cost of a word without phonemes, or of phonemes without a word


@dataclass(frozen=True, slots=True)
class Group:
    """Phonemes between two spaces: how many, and when, in seconds of the sentence's audio."""

    phonemes: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """A written word and its groups ``first`` to ``last`` (inclusive), of which it has the given share."""

    text: str
    first: int
    last: int
    share_from: float = 0.0
    share_to: float = 1.0


def written(text: str) -> list[str]:
    """The words of ``text`` with the spaces behind them; joined they are ``text``."""
    words: list[str] = _TOKEN.findall(text)
    return words if words else ([text] if text else [])


def match(words: Sequence[str], phonemes: Sequence[int]) -> list[Place]:
    """The place of each of ``words`` in groups that have that many ``phonemes``, in order.

    Empty if there are no groups. Time and memory grow with words x groups.
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
            else:  # a word without phonemes is timed with the word before it
                run.append(Place(words[k], max(j - 1, 0), max(j - 1, 0), 1.0, 1.0))
            at = to
        places = run + places
    return places


def _weight(word: str) -> float:
    """The expected length of a spoken word, in letters: digits and symbols are read out."""
    letters = sum(c.isalpha() for c in word)
    digits = sum(c.isdigit() for c in word)
    return letters + 4.0 * digits + 4.0 * sum(c in "$%€£&+=@#" for c in word) + 0.5


class WordTimes:
    """The words of one chunk of text with their times, as they become known: (text, start, end) in seconds.

    ``begins_s``: where the chunk's audio begins in the reply's.
    """

    def __init__(self, text: str, begins_s: float) -> None:
        self._words = written(text)
        self._begins_s = begins_s
        self._places: list[Place] = []
        self._times: dict[int, tuple[float, float]] = {}  # of each group of phonemes, in seconds of the chunk
        self._done = 0
        self._length_s = 0.0

    def sentence(self, groups: Sequence[Group], phonemes: Sequence[int], first_group: int, length_s: float) -> None:
        """An audio chunk of ``length_s`` seconds was made. The other arguments are those of
        :class:`~.synthesizer.AudioChunk`."""
        if phonemes and not self._places:
            self._places = match(self._words, phonemes)
        for number, group in enumerate(groups, first_group):
            self._times[number] = (self._length_s + group.start_s, self._length_s + group.end_s)
        self._length_s += length_s

    def take(self, *, skipped_s: float) -> list[tuple[str, float, float]]:
        """The words whose times became known since the last call. ``skipped_s`` was trimmed off the chunk's start."""
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
        """The remaining words at the chunk's end, spread evenly up to ``until_s`` if the voice has no durations."""
        left = self._words[self._done :]
        start = self._begins_s if not self._done else until_s
        step = (until_s - start) / max(len(left), 1)
        self._done = len(self._words)
        return [(text, start + step * n, start + step * (n + 1)) for n, text in enumerate(left)]
