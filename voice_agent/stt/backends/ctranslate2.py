"""What runs Whisper: onnxruntime where it can (four times faster a token on a CPU), CTranslate2 for everything else."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from threadpoolctl import ThreadpoolController

from ...errors import ConfigError, ModelError
from ...livekit_compat import faster_whisper as compat

RUNTIMES = ("auto", "onnx", "ctranslate2")
MAX_TOKENS = 448  # Whisper's
ONNX_UP_TO_BYTES = 700_000_000
"""``auto`` takes CTranslate2 for larger model files: loading holds the weights in memory twice (small has 484 MB)."""

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Generated:
    """``ids`` with timestamps, without the end mark; ``score``: mean log-probability a token."""

    ids: tuple[int, ...]
    score: float
    no_speech_prob: float
    steps: int = 0
    """Of the decoder; 0: not told."""


def prompt_of(tokenizer: Tokenizer, previous: str, hotwords: str | None) -> list[int]:
    """faster-whisper's prompt for a text with timestamps after ``previous``."""
    before = tokenizer.encode(" " + previous.strip()) if previous else []
    return compat.prompt(tokenizer, before, hotwords, MAX_TOKENS)


class Runtime(Protocol):
    """One Whisper model. ``Encoded`` values are its own and stay valid as long as it does. Everything blocks."""

    is_multilingual: bool
    hf_tokenizer: Any

    def encode(self, pcm: Float32, samples: int) -> Any:
        """``pcm`` (mono, 16 kHz), and silence up to ``samples``."""

    def generate(
        self, encoded: Any, prompt: Sequence[int], bound: int, draft: Sequence[int] = (), end: int | None = None
    ) -> Generated:
        """Greedy decoding with timestamps, of at most ``bound`` tokens; ``draft``: what they may well be; ``end``: what
        follows a segment that ends at this time (a token) or later is not wanted."""

    def likelihood(self, encoded: Any, tokenizer: Tokenizer, tokens: Sequence[int], frames: int) -> list[float]:
        """How likely each of ``tokens`` is for the sound, without timestamps, given those before it."""

    def alignment(self, encoded: Any, tokenizer: Tokenizer, tokens: Sequence[int], frames: int) -> list[dict[str, Any]]:
        """faster-whisper's words with their times in s."""

    def detect_language(self, encoded: Any) -> str:
        """The likeliest language's code."""


class Ct2Whisper:
    """faster-whisper's model on CTranslate2."""

    def __init__(self, path: Path, device: str, compute_type: str, threads: int) -> None:
        try:
            self._model = WhisperModel(
                str(path), device=device, compute_type=compute_type, cpu_threads=threads, local_files_only=True
            )
        except Exception as e:  # CTranslate2 raises RuntimeError/ValueError with its own words
            raise ModelError(
                f"Whisper model at {path} did not load on device={device} compute_type={compute_type}: {e}. "
                "Check stt.model, stt.device and stt.compute_type (cpu and int8 always work)."
            ) from e
        self.is_multilingual = bool(self._model.model.is_multilingual)
        self.hf_tokenizer = self._model.hf_tokenizer
        self._blas = ThreadpoolController()
        self._featuring = threading.Lock()

    def encode(self, pcm: Float32, samples: int) -> Any:
        padded = np.pad(pcm, (0, max(0, samples - len(pcm))))
        # OpenBLAS would spin a second thread for 2 ms of work, and slow everything else down for 10 (docs/hearing.md).
        # One at a time: the limit holds for the whole process.
        with self._featuring, self._blas.limit(limits=1, user_api="blas"):
            features = self._model.feature_extractor(padded, padding=0)
        return self._model.encode(features)

    def generate(
        self, encoded: Any, prompt: Sequence[int], bound: int, draft: Sequence[int] = (), end: int | None = None
    ) -> Generated:
        # CTranslate2 gives the new tokens what the prompt leaves, but at most half of max_length (4.8, measured); a
        # draft it would take token by token, so that nothing is saved by one; nor does it stop at a time.
        result = self._model.model.generate(
            encoded,
            [list(prompt)],
            beam_size=1,
            max_length=min(MAX_TOKENS, max(2 * bound, len(prompt) + bound)),
            suppress_blank=True,
            return_scores=True,
            return_no_speech_prob=True,
            max_initial_timestamp_index=50,
        )[0]
        return Generated(tuple(result.sequences_ids[0]), float(result.scores[0]), float(result.no_speech_prob))

    def likelihood(self, encoded: Any, tokenizer: Tokenizer, tokens: Sequence[int], frames: int) -> list[float]:
        aligned = self._model.model.align(encoded, tokenizer.sot_sequence, [list(tokens)], frames)[0]
        return list(aligned.text_token_probs)

    def alignment(self, encoded: Any, tokenizer: Tokenizer, tokens: Sequence[int], frames: int) -> list[dict[str, Any]]:
        return compat.word_times(self._model.model, tokenizer, tokens, encoded, frames)

    def detect_language(self, encoded: Any) -> str:
        code = self._model.model.detect_language(encoded)[0][0][0]  # "<|en|>"
        return str(code[2:-2])


def load(path: Path, *, runtime: str, device: str, compute_type: str, threads: int) -> Runtime:
    """The model in the folder ``path``.

    Raises ModelError, ConfigError if ``runtime`` cannot do what is asked, DependencyError (faster-whisper's version).
    """
    compat.check()
    from .onnx.whisper import OnnxWhisper

    ours = device == "cpu" and compute_type == "int8"
    if runtime not in RUNTIMES:
        raise ConfigError(f"stt.backend={runtime!r}: one of {', '.join(RUNTIMES)}")
    if runtime == "onnx" and not ours:
        raise ConfigError("stt.backend=onnx runs on stt.device=cpu with stt.compute_type=int8 only")
    if runtime == "ctranslate2" or not ours:
        return Ct2Whisper(path, device, compute_type, threads)
    weights = path / "model.bin"
    if runtime == "auto" and (not weights.is_file() or weights.stat().st_size > ONNX_UP_TO_BYTES):
        return Ct2Whisper(path, device, compute_type, threads)
    try:
        return OnnxWhisper(path, threads=threads)
    except ModelError:
        if runtime == "onnx":
            raise
        return Ct2Whisper(path, device, compute_type, threads)  # it may know the file, or say what is wrong with it
