"""Which token may follow: Whisper's rules for a text with timestamps, as CTranslate2 and openai-whisper apply them.

https://github.com/openai/whisper/blob/main/whisper/decoding.py, ``ApplyTimestampRules``. What they read of the 51,865
logits is found by the model itself (:func:`.graph.best`): numpy would let go of Python's lock and wait for it again at
each step, ten times a token, behind the event loops of all calls. Pure: numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEAST = -1e30
"""The logit of what may not be said."""


class Best(NamedTuple):
    """Of one position. ``word``: the likeliest token that is no time, and its logit; ``words``: the logarithm of the
    sum of the exponentials of all of these; ``time``, ``times``: the same of the times that are allowed; ``end``: the
    logit of the end mark. LEAST or less: none is allowed.
    """

    word_id: int
    time_id: int
    word: float
    words: float
    end: float
    time: float
    times: float


@dataclass(frozen=True, slots=True)
class Rules:
    """Times are the tokens from ``timestamp_begin``, which follows <|notimestamps|>, to ``size``; ``first_timestamp``:
    the latest that a text may begin with. Of what stands between the end mark ``eot`` and the times nothing is said.
    """

    eot: int
    timestamp_begin: int
    size: int
    never: frozenset[int]
    first_timestamp: int

    @property
    def suppressed(self) -> Iterable[int]:
        """The ids before the times that are never said."""
        return {i for i in self.never if i < self.timestamp_begin} | set(range(self.eot + 1, self.timestamp_begin))

    def times(self, said: Sequence[int]) -> tuple[int, int]:
        """The first time that may follow ``said`` (without the prompt), counted from ``timestamp_begin``, and the one
        after the last."""
        begin = self.timestamp_begin
        if not said:
            return 0, self.first_timestamp + 1
        last_is_time = said[-1] >= begin
        if last_is_time and not self.closed(said):
            return 0, 0
        latest = next((i for i in reversed(said) if i >= begin), begin)
        # Time does not run backwards; a segment's end may be the next one's beginning.
        return latest - begin + (0 if last_is_time else 1), self.size - begin

    def choose(self, best: Best, said: Sequence[int]) -> tuple[int, float]:
        """The likeliest token after ``said`` and its log-probability among those allowed.

        ``best`` was found with the :meth:`times` of ``said``.
        """
        word_id, word, words = best.word_id, best.word, best.words
        if not said:
            word = words = LEAST
        elif self.closed(said):  # after an end mark there is another time, or nothing
            word_id, word, words = self.eot, best.end, best.end
        if best.times > word:  # Together the times are likelier than any word: one of them it is.
            return best.time_id, best.time - best.times
        return word_id, word - _log_sum(words, best.times)

    def closed(self, said: Sequence[int]) -> bool:
        """Whether the last segment has its end; two times in a row are the end of one and the beginning of the next."""
        begin = self.timestamp_begin
        return len(said) > 1 and said[-1] >= begin > said[-2]


def _log_sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))
