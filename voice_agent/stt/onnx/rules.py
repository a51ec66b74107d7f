"""Which token may follow: Whisper's rules for a text with timestamps, as CTranslate2 and openai-whisper apply them.

https://github.com/openai/whisper/blob/main/whisper/decoding.py, ``ApplyTimestampRules``. Pure: numbers in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rules:
    """``suppressed``: ids never said; ``suppressed_first``: nor as the first; timestamps are the ids from
    ``timestamp_begin``, which follows ``no_timestamps``; ``first_timestamp``: the latest that a text may begin with.
    """

    eot: int
    timestamp_begin: int
    suppressed: NDArray[np.int64]
    suppressed_first: NDArray[np.int64]
    first_timestamp: int

    def choose(self, logits: Float32, said: Sequence[int]) -> tuple[int, float]:
        """The likeliest token after ``said`` (without the prompt) and its log-probability among those allowed.

        ``logits`` [vocabulary] is overwritten.
        """
        begin, eot = self.timestamp_begin, self.eot
        logits[self.suppressed] = -np.inf
        logits[begin - 1] = -np.inf  # <|notimestamps|>
        if not said:
            logits[self.suppressed_first] = -np.inf
            logits[:begin] = -np.inf
            logits[begin + self.first_timestamp + 1 :] = -np.inf
        else:
            last_is_time = said[-1] >= begin
            if last_is_time and (len(said) < 2 or said[-2] >= begin):
                logits[begin:] = -np.inf
            elif last_is_time:
                logits[:eot] = -np.inf
            latest = next((i for i in reversed(said) if i >= begin), None)
            if latest is not None:  # time does not run backwards; a segment's end may be the next one's beginning
                logits[begin : latest + (0 if last_is_time else 1)] = -np.inf
        top = float(logits.max())
        likelihood = np.exp(logits - top)
        times = float(likelihood[begin:].sum())
        total = times + float(likelihood[:begin].sum())
        if times > 0 and times > float(likelihood[:begin].max()):
            # Together the timestamps are likelier than any word: one of them it is.
            logits, total = logits[begin:], times
        else:
            begin = 0
        best = int(logits.argmax())
        return begin + best, float(logits[best]) - top - float(np.log(total))
