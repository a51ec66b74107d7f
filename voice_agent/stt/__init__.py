"""The ears: ``whisper`` (PCM in, text out), ``utterance`` (again and again), ``stream`` (LiveKit's STT)."""

from .decoder import Hypothesis, WhisperEngine
from .stream import FastWhisperSTT, transcribe

__all__ = ["FastWhisperSTT", "Hypothesis", "WhisperEngine", "transcribe"]
