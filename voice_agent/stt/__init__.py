"""Speech-to-text with Whisper, while the user speaks.

Read in this order: ``fast_whisper_stt`` (LiveKit's ``stt.STT``), ``whisper_stream`` (one speaker's stream),
``pass_scheduler`` (when Whisper runs), ``incremental`` (one utterance, decoded again and again), ``decoder`` (PCM in,
text out), ``backends`` (what runs the model).
"""

from .decoder import WhisperEngine
from .fast_whisper_stt import FastWhisperSTT, transcribe
from .hypothesis import Hypothesis

__all__ = ["FastWhisperSTT", "Hypothesis", "WhisperEngine", "transcribe"]
