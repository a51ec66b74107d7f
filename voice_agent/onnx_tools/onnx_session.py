"""onnxruntime sessions over a model in memory."""

from __future__ import annotations

from typing import Any

QUIET = 3  # errors only


def session_options(threads: int) -> Any:
    """Options for a model that runs on ``threads`` threads, one run at a time, on shapes that seldom repeat."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = QUIET
    options.enable_mem_pattern = False  # made for shapes that repeat; no run was faster with it
    # All optimizations took twice as long to load and made no run faster than the basic ones.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return options


def onnx_session(model: bytes, options: Any) -> Any:
    """Raises onnxruntime's exceptions, which share no base class but Exception."""
    import onnxruntime as ort

    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # It keeps the bytes to try other providers with later: 60 MB for a voice, 75 for Whisper base. There are no others.
    if hasattr(session, "_model_bytes"):
        session._model_bytes = b""
    return session
