"""What a Whisper pass gives: a text with its tokens, its scores and what the guards did to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its place in the decoded audio, in seconds from its start."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The result of one pass.

    ``avg_logprob``: mean log-probability of a token; ``no_speech_prob``: Whisper's probability that nobody spoke.
    ``guard``: what a guard did to the text ("loop", "tail", "silence", "wide"), or "confirmed" (the previous text was
    confirmed, nothing was decoded) or "hasty" (a quick pass that may lack words); else empty.
    """

    text: str
    tokens: tuple[int, ...]
    audio_s: float
    window_s: float
    avg_logprob: float
    no_speech_prob: float
    guard: str = ""
    language: str = "en"  # detected or set
    ids: tuple[int, ...] = ()  # all decoded tokens with timestamps: the draft of the next pass
    end_s: float | None = None  # end of the last segment by its timestamp
    encode_s: float = 0.0
    decode_s: float = 0.0
    encoded: Any = field(default=None, repr=False, compare=False)  # the encoder's output, for word times

    @property
    def key(self) -> tuple[str, ...]:
        """The words alone: two hypotheses with equal keys say the same."""
        return words_key(self.text)


def words_key(text: str) -> tuple[str, ...]:
    """Lower-case words without punctuation; two texts with equal keys say the same."""
    return tuple(w for w in (re.sub(r"[^\w']", "", x) for x in re.split(r"[\s\-]+", text.casefold())) if w)
