"""Audio after the encoder, and what the decoder says about a text for it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .backends.base import WhisperBackend

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer

FRAMES_PER_S = 100  # Whisper's mel frames
TIMES_PER_S = 50  # its timestamps
AT_END_S = 0.35
"""A timestamp this close to the end of the audio lies at its end."""
_STOP = re.compile(r"\W+$")


@dataclass(frozen=True, slots=True)
class EncodedAudio:
    """``encoded``: the encoder's output for ``audio_s`` of audio; ``tokenizer``: of the spoken language."""

    backend: WhisperBackend
    encoded: Any
    tokenizer: Tokenizer
    audio_s: float

    @property
    def end_timestamp(self) -> int:
        """The first timestamp token that lies at the end of the audio."""
        return int(self.tokenizer.timestamp_begin) + max(0, math.ceil((self.audio_s - AT_END_S) * TIMES_PER_S))

    def likelihood(self, text: str) -> list[float]:
        """The probability of each token of ``text``, then that of the sentence mark after it (one decoder step)."""
        tokens = self.tokenizer.encode(f" {without_stop(text)}{_stop_of(text)}")
        return self.backend.likelihood(self.encoded, self.tokenizer, tokens, self._frames)

    def word_times(self, tokens: Sequence[int]) -> list[dict[str, Any]]:
        """faster-whisper's word times for ``tokens``: dicts with word, start, end (s) and probability."""
        return self.backend.alignment(self.encoded, self.tokenizer, tokens, self._frames)

    @property
    def _frames(self) -> int:
        return int(self.audio_s * FRAMES_PER_S)


def without_stop(text: str) -> str:
    """``text`` without the marks at its end."""
    return _STOP.sub("", text)


def _stop_of(text: str) -> str:
    """The sentence mark at its end; a full stop if there is none."""
    return text[-1] if text[-1] in ".?!" else "."
