"""Which backend runs a model: onnxbackend where it can (four times faster a token on a CPU), else CTranslate2."""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigError, ModelError
from ...livekit_compat import faster_whisper as compat
from .base import WhisperBackend
from .ctranslate2 import Ct2Whisper
from .onnx.onnx_whisper import OnnxWhisper

BACKENDS = ("auto", "onnx", "ctranslate2")
ONNX_UP_TO_BYTES = 700_000_000
"""``auto`` takes CTranslate2 for larger model files: loading holds the weights in memory twice (small has 484 MB)."""


def load_backend(path: Path, *, backend: str, device: str, compute_type: str, threads: int) -> WhisperBackend:
    """The model in the folder ``path``.

    Raises ModelError, ConfigError (``backend`` does not suit the rest) and DependencyError (faster-whisper's version).
    """
    compat.check()
    onnx_runs_it = device == "cpu" and compute_type == "int8"
    if backend not in BACKENDS:
        raise ConfigError(f"stt.backend={backend!r}: one of {', '.join(BACKENDS)}")
    if backend == "onnx" and not onnx_runs_it:
        raise ConfigError("stt.backend=onnx runs on stt.device=cpu with stt.compute_type=int8 only")
    if backend == "ctranslate2" or not onnx_runs_it:
        return Ct2Whisper(path, device, compute_type, threads)
    weights = path / "model.bin"
    if backend == "auto" and (not weights.is_file() or weights.stat().st_size > ONNX_UP_TO_BYTES):
        return Ct2Whisper(path, device, compute_type, threads)
    try:
        return OnnxWhisper(path, threads=threads)
    except ModelError:
        if backend == "onnx":
            raise
        return Ct2Whisper(path, device, compute_type, threads)  # it may read the file, or say what is wrong with it
