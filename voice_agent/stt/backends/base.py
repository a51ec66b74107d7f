"""What every Whisper backend offers, and the values it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..pcm import Float32

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer

MAX_TOKENS = 448
"""Whisper's longest text, prompt included."""


@dataclass(frozen=True, slots=True)
class Generated:
    """``ids``: tokens with timestamps, without the end mark; ``score``: mean log-probability of a token."""

    ids: tuple[int, ...]
    score: float
    no_speech_prob: float
    steps: int = 0
    """Decoder steps; 0: not known."""


class WhisperBackend(Protocol):
    """One Whisper model. Encoder outputs belong to the backend that made them. All methods block."""

    is_multilingual: bool
    hf_tokenizer: Any

    def encode(self, pcm: Float32, samples: int) -> Any:
        """``pcm`` (mono, 16 kHz) with silence up to ``samples`` to the encoder's output."""

    def generate(
        self, encoded: Any, prompt: Sequence[int], bound: int, draft: Sequence[int] = (), end: int | None = None
    ) -> Generated:
        """Greedy decoding with timestamps, at most ``bound`` tokens. ``draft``: tokens that the text may have.
        ``end``: decoding may stop after a segment that ends at this timestamp token or later."""

    def likelihood(self, encoded: Any, tokenizer: Tokenizer, tokens: Sequence[int], frames: int) -> list[float]:
        """The probability of each of ``tokens`` given those before it, without timestamps; ``frames``: mel frames."""

    def alignment(self, encoded: Any, tokenizer: Tokenizer, tokens: Sequence[int], frames: int) -> list[dict[str, Any]]:
        """faster-whisper's words with their times in s."""

    def detect_language(self, encoded: Any) -> str:
        """The code of the likeliest language."""
