"""Whisper on CTranslate2: every device and number format that it knows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import ThreadpoolController

from ...errors import ModelError
from ...livekit_compat import faster_whisper as compat
from ..pcm import Float32
from .base import MAX_TOKENS, Generated

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer


class Ct2Whisper:
    """faster-whisper's model on CTranslate2."""

    def __init__(self, path: Path, device: str, compute_type: str, threads: int) -> None:
        from faster_whisper import WhisperModel

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
        self._features_lock = threading.Lock()

    def encode(self, pcm: Float32, samples: int) -> Any:
        padded = np.pad(pcm, (0, max(0, samples - len(pcm))))
        # OpenBLAS would spin a second thread for 2 ms of work, which slows everything else for 10 ms (docs/stt.md).
        # The limit holds for the whole process, hence the lock.
        with self._features_lock, self._blas.limit(limits=1, user_api="blas"):
            features = self._model.feature_extractor(padded, padding=0)
        return self._model.encode(features)

    def generate(
        self, encoded: Any, prompt: Sequence[int], bound: int, draft: Sequence[int] = (), end: int | None = None
    ) -> Generated:
        # New tokens get what the prompt leaves of max_length, but at most half of it (CTranslate2 4.8, measured).
        # A draft would be read token by token and save nothing; stopping at a timestamp is not possible.
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
