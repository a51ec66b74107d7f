"""Recorded clips, and the word errors of a text."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from voice_agent.stt.hypothesis import words_key

Float32 = npt.NDArray[np.float32]


class RecordedClip(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def end_s(self) -> float: ...
    @property
    def float32(self) -> Float32: ...


def word_errors(heard: str, truth: str) -> int:
    """Levenshtein distance in words."""
    a, b = words_key(heard), words_key(truth)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i, *row[1:]], row
        for j, y in enumerate(b, 1):
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
    return row[-1]
