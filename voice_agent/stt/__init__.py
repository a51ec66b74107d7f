"""Speech-to-text with Whisper, while the user speaks.

Read in this order: ``fast_whisper_stt`` (LiveKit's ``stt.STT``), ``whisper_stream`` (one speaker's stream),
``pass_scheduler`` (when Whisper runs), ``incremental`` (one utterance, decoded again and again), ``decoder`` (PCM in,
text out), ``backends`` (what runs the model).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .decoder import WhisperEngine
    from .fast_whisper_stt import FastWhisperSTT, transcribe
    from .hypothesis import Hypothesis
else:
    from ..runtime.lazy_imports import lazy_names

    __getattr__ = lazy_names(
        __name__,
        {
            "decoder": ("WhisperEngine",),
            "fast_whisper_stt": ("FastWhisperSTT", "transcribe"),
            "hypothesis": ("Hypothesis",),
        },
    )

__all__ = ["FastWhisperSTT", "Hypothesis", "WhisperEngine", "transcribe"]
