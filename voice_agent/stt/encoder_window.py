"""How much audio the encoder gets. Whisper's own window is 30 s; a window of 8 s takes a sixth of the time."""

from __future__ import annotations

from dataclasses import dataclass

FULL_S = 30.0
MULTILINGUAL_WINDOW, ENGLISH_WINDOW = (0.6, 3.0), (1.5, 4.0)
"""(silence after the speech, least window) in s. On 38 clips base makes the same 11 errors with 0.4 to 1.5 s after the
speech, and never loops; tiny.en loops on 5 of 114 passes with 1.5 s, on 11 to 21 with less (docs/stt.md)."""
SHORT_S, SHORT_WINDOW_S = 2.0, 5.0
"""Least window of a multilingual model for audio of at most ``SHORT_S`` that may be the whole utterance, in s. In 3 s
base writes "Good bye" for "Goodbye", or not, depending on where the audio begins (docs/stt.md)."""


@dataclass(frozen=True, slots=True)
class EncoderWindow:
    """The window is ``margin_s`` longer than the audio and at least ``least_s``; for short audio that may be the whole
    utterance at least ``short_least_s``."""

    margin_s: float
    least_s: float
    short_least_s: float

    @classmethod
    def of(cls, multilingual: bool, margin_s: float | None, least_s: float | None) -> EncoderWindow:
        """The given values; for None what suits the model."""
        default_margin_s, default_least_s = MULTILINGUAL_WINDOW if multilingual else ENGLISH_WINDOW
        chosen_s = default_least_s if least_s is None else least_s
        short_s = SHORT_WINDOW_S if multilingual and least_s is None else chosen_s
        return cls(default_margin_s if margin_s is None else margin_s, chosen_s, short_s)

    def length_s(self, audio_s: float, *, last: bool, margin_s: float | None = None) -> float:
        """The window for ``audio_s`` of audio. ``last``: this text may be the final one; passes before it may be
        cheaper. ``margin_s``: another margin than usual."""
        least_s = self.short_least_s if last and audio_s <= SHORT_S else self.least_s
        margin_s = self.margin_s if margin_s is None else margin_s
        return round(min(FULL_S, max(least_s, audio_s + margin_s)), 2)
