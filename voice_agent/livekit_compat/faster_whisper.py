"""What is used of faster-whisper beyond its documented API (1.2.1). Nothing here imports it before it is called.

Two methods of ``WhisperModel`` are called on a stand-in that has the attributes they read, because a model on
onnxruntime is no ``WhisperModel``: ``get_prompt`` reads ``max_length``; ``find_alignment`` reads ``model.align`` and
``tokens_per_second``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .symbols import Symbol

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer

GET_PROMPT = Symbol(
    "faster-whisper",
    "faster_whisper",
    "WhisperModel.get_prompt",
    "Whisper cannot be prompted, so nothing can be transcribed",
    required=True,
)
FIND_ALIGNMENT = Symbol(
    "faster-whisper",
    "faster_whisper",
    "WhisperModel.find_alignment",
    "words have no times, so a long utterance cannot be transcribed piece by piece",
    required=True,
)
LANGUAGE_CODES = Symbol(
    "faster-whisper",
    "faster_whisper.tokenizer",
    "_LANGUAGE_CODES",
    "a --language that Whisper does not know is noticed only when the model is loaded",
)
TOKENS_PER_SECOND = 50  # Whisper's: one position of the encoder's output is 20 ms


class Aligner(Protocol):
    """As ``ctranslate2.models.Whisper``."""

    def align(
        self,
        encoder_output: Any,
        start_sequence: Sequence[int],
        text_tokens: Sequence[Sequence[int]],
        num_frames: int,
        *,
        median_filter_width: int = 7,
    ) -> Sequence[Any]:
        """For each text: ``alignments``, pairs (token, position); ``text_token_probs``."""


@dataclass(frozen=True, slots=True)
class _PromptSelf:
    max_length: int


@dataclass(frozen=True, slots=True)
class _AlignmentSelf:
    model: Aligner
    tokens_per_second: int = TOKENS_PER_SECOND


def check() -> None:
    """Raises DependencyError if the installed faster-whisper lacks what transcription needs."""
    GET_PROMPT.find()
    FIND_ALIGNMENT.find()


def prompt(tokenizer: Tokenizer, previous: Sequence[int], hotwords: str | None, max_length: int) -> list[int]:
    """The prompt for a text with timestamps after the tokens ``previous``, cut so that half of ``max_length`` is left.

    Raises DependencyError.
    """
    return list(GET_PROMPT.find()(_PromptSelf(max_length), tokenizer, list(previous), hotwords=hotwords))


def word_times(
    aligner: Aligner, tokenizer: Tokenizer, tokens: Sequence[int], encoded: Any, frames: int
) -> list[dict[str, Any]]:
    """The words of ``tokens``: ``word``, ``start`` and ``end`` in s, ``probability``. Raises DependencyError.

    ``frames``: length of the audio in feature frames of 10 ms.
    """
    found = FIND_ALIGNMENT.find()(_AlignmentSelf(aligner), tokenizer, [list(tokens)], encoded, frames)
    return list(found[0])


def knows_language(code: str) -> bool:
    """Whether Whisper knows the language with that code. True of every code if faster-whisper has no list of them."""
    codes = LANGUAGE_CODES.find()
    return codes is None or code in codes
