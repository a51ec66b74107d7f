"""Texts that the audio cannot have carried: loops, stock phrases on silence, noise markup."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

import numpy as np

from ..hypothesis import Hypothesis, words_key
from ..pcm import Float32

# What Whisper writes for silence, breath and noise: its training data were subtitles. Kept only with a high score.
_HALLUCINATIONS = frozenset(
    {
        "you", "thank you", "thanks for watching", "thank you for watching", "thanks", "bye", "the", "oh", "uh", "so",
        "subtitles by the amara org community", "please subscribe", "okay", "hmm", "mm", "i", "a", "you you", "and",
        "music",
    }
)  # fmt: skip
_NOISE_MARKUP = re.compile(r"[\[(*♪][^\])*♪]*[\])*♪]?")  # "[Music]", "(wind blowing)", "♪"
_STUTTER = re.compile(r"([^\w\s])(?:\s*\1){3,}")  # "1,4,,,,,,,": a loop over punctuation; "..." is none


def without_markup(text: str) -> tuple[str, bool]:
    """``text`` without descriptions of noise and runs of one mark; whether there was such a run."""
    text, stutters = _STUTTER.subn(r"\1", _NOISE_MARKUP.sub("", text).strip())
    return text, stutters > 0


def is_plausible(h: Hypothesis) -> bool:
    """At most about 6 words a second, and no text that compresses too well (faster-whisper's limit is 2.4)."""
    if not h.text:
        return True
    words = len(h.text.split())
    raw = h.text.encode()
    repetitive = len(raw) > 40 and len(raw) / len(zlib.compress(raw)) > 2.2
    return words <= 4 + 6 * h.audio_s and not repetitive


def remove_hallucination(h: Hypothesis, pcm: Float32) -> Hypothesis:
    """``h`` without text (guard "silence") if Whisper doubts it, or if there was next to no sound."""
    key = " ".join(words_key(h.text))
    doubtful = h.no_speech_prob > 0.6 and h.avg_logprob < -0.6
    hopeless = h.avg_logprob < -1.3 or h.no_speech_prob > 0.9
    stock = key in _HALLUCINATIONS and (h.no_speech_prob > 0.3 or h.avg_logprob < -0.75)
    quiet = len(pcm) == 0 or float(np.sqrt(np.mean(np.square(pcm)))) < 1e-4  # -80 dBFS: a closed microphone
    if h.text and (not key or doubtful or hopeless or stock or quiet):
        return replace(h, text="", tokens=(), guard="silence")
    return h
