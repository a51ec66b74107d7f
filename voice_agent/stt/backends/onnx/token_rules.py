"""Which token may follow: Whisper's rules for a text with timestamps, as in CTranslate2 and openai-whisper.

https://github.com/openai/whisper/blob/main/whisper/decoding.py, ``ApplyTimestampRules``. The ONNX model itself reduces
the 51,865 logits to the few numbers that the rules need (:func:`.whisper_graph.best`): numpy would release Python's
lock and wait for it ten times a token, behind the event loops of all calls. Pure: numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEAST = -1e30
"""The logit of a token that is not allowed."""


class Best(NamedTuple):
    """What one row of logits comes to.

    ``word_id``, ``word``: the likeliest token that is no timestamp, and its logit; ``words``: log-sum-exp over all of
    these. ``time_id``, ``time``, ``times``: the same for the allowed timestamps. ``end``: logit of the end mark. LEAST
    or less: none is allowed.
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
    """Timestamps are the tokens from ``timestamp_begin`` (after <|notimestamps|>) to ``size``.

    ``first_timestamp``: the latest with which a text may begin. Tokens between the end mark ``eot`` and the timestamps,
    and those in ``never``, are never chosen.
    """

    eot: int
    timestamp_begin: int
    size: int
    never: frozenset[int]
    first_timestamp: int

    @property
    def suppressed(self) -> Iterable[int]:
        """The ids before the timestamps that are never chosen."""
        return {i for i in self.never if i < self.timestamp_begin} | set(range(self.eot + 1, self.timestamp_begin))

    def times(self, said: Sequence[int]) -> tuple[int, int]:
        """The timestamps that may follow ``said`` (without the prompt): first and end, from ``timestamp_begin``."""
        begin = self.timestamp_begin
        if not said:
            return 0, self.first_timestamp + 1
        last_is_time = said[-1] >= begin
        if last_is_time and not self.closed(said):
            return 0, 0
        latest = next((i for i in reversed(said) if i >= begin), begin)
        # Time does not run backwards; the end of a segment may be the beginning of the next.
        return latest - begin + (0 if last_is_time else 1), self.size - begin

    def choose(self, best: Best, said: Sequence[int]) -> tuple[int, float]:
        """The likeliest token after ``said`` and its log-probability among those allowed.

        ``best`` was found with the :meth:`times` of ``said``.
        """
        word_id, word, words = best.word_id, best.word, best.words
        if not said:
            word = words = LEAST
        elif self.closed(said):  # after an end mark comes another timestamp, or nothing
            word_id, word, words = self.eot, best.end, best.end
        if best.times > word:  # Together the timestamps are likelier than any word.
            return best.time_id, best.time - best.times
        return word_id, word - _log_sum(words, best.times)

    def closed(self, said: Sequence[int]) -> bool:
        """Whether the last segment has ended. Two timestamps in a row: the end of one and the beginning of the next."""
        begin = self.timestamp_begin
        return len(said) > 1 and said[-1] >= begin > said[-2]


def _log_sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))
