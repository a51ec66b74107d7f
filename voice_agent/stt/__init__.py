"""The ears: ``whisper`` (PCM in, text out), ``utterance`` (again and again), ``stream`` (LiveKit's STT)."""

from .stream import FastWhisperSTT, transcribe
from .whisper import Hypothesis, WhisperEngine

__all__ = ["FastWhisperSTT", "Hypothesis", "WhisperEngine", "transcribe"]
