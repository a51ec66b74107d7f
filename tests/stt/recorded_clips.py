"""Recorded clips with their true words, and the word errors of a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voice_agent.stt.hypothesis import words_key

Int16 = npt.NDArray[np.int16]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RecordedClip:
    """A recording, 16 kHz mono. ``end_s``: end of the speech; ``synthetic``: not spoken by a person."""

    name: str
    pcm: Int16
    text: str
    end_s: float
    synthetic: bool

    @property
    def float32(self) -> Float32:
        return self.pcm.astype(np.float32) / 32768.0


def word_errors(heard: str, truth: str) -> int:
    """Levenshtein distance in words."""
    a, b = words_key(heard), words_key(truth)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i, *row[1:]], row
        for j, y in enumerate(b, 1):
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
    return row[-1]
