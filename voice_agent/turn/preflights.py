"""The provisional requests (preflights) of one turn: how many, how far apart, and which reply is ready."""

from __future__ import annotations

from ..config import TurnConfig

CANCEL_AFTER = 2
"""Whisper's last word flickers ("forwarded", "forward", "forwarded"): one other text does not cancel a preflight."""


class Preflights:
    """``last_at_s``: when the last one went out. Texts are compared by their words (:func:`.turn_text.words_of`)."""

    def __init__(self, config: TurnConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """A turn begins."""
        self.last_at_s = -1.0
        self._words: str | None = None  # of the last one, unless it was cancelled
        self._count = self._early = 0
        self._mismatches = 0  # texts in a row with other words
        self._ready = False

    def fits(self, words: str) -> bool:
        """The last preflight was on these words."""
        return self._words == words

    def reply_is_ready(self, words: str) -> bool:
        """The reply to these words could be heard at once."""
        return self._ready and self.fits(words)

    def reply_ready(self, words: str) -> None:
        """The reply to a preflight on ``words`` has its first audio."""
        if self.fits(words):
            self._ready = True

    def start(self, words: str, now_s: float, *, early: bool) -> bool:
        """Count a preflight on ``words``; False if the turn has had its number."""
        if self._count >= self.config.max_preflights:
            return False
        self._words = words
        self._count += 1
        self._early += early
        self.last_at_s = now_s
        self._mismatches, self._ready = 0, False
        return True

    def text_changed(self, words: str) -> bool:
        """A new text came in; whether the last preflight is cancelled by it."""
        if self._words is None or self.fits(words):
            self._mismatches = 0
            return False
        self._mismatches += 1
        if self._mismatches < CANCEL_AFTER:
            return False
        self._words, self._ready = None, False
        return True

    def early_left(self, now_s: float) -> int:
        """How many the turn may still have while the user speaks; 0 shortly after the last."""
        if now_s - self.last_at_s < self.config.early_preflight_spacing_s:
            return 0
        return max(0, self.config.max_early_preflights - self._early)
