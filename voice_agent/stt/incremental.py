"""Decodes one utterance again and again while it lasts, at a cost that does not grow with its length.

Each pass decodes the tail: the audio since the last *frozen* word. When the tail grows long, the words on which two
passes in a row agree are frozen and their audio is dropped, cut at the quietest place between two words. So a pass
costs the same after 30 s of speech as after 5 s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .decoder import MAX_AUDIO_S, WhisperEngine
from .hypothesis import Hypothesis, Word, words_key
from .pcm import SAMPLE_RATE, Float32, quietest

FREEZE_FROM_S = 9.0
"""A longer tail is shortened."""
KEEP_S = 2.6
"""A shortened tail keeps at least this much, so that the words at its end keep their context."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """``text``: all of the utterance so far; ``drop_samples``: to drop from the start of the tail."""

    text: str
    drop_samples: int
    hypothesis: Hypothesis


class IncrementalDecoder:
    """Decodes one utterance. Use it from one thread; after each pass drop ``drop_samples`` from the tail."""

    def __init__(
        self,
        engine: WhisperEngine,
        *,
        freeze_from_s: float = FREEZE_FROM_S,
        keep_s: float = KEEP_S,
        context: bool = True,
    ) -> None:
        self._engine = engine
        self._freeze_from_s = freeze_from_s
        self._keep_s = keep_s
        self._context = context
        self._frozen = ""
        self._previous: Hypothesis | None = None

    def decode(self, tail: Float32, *, final: bool = False, speech_s: float | None = None) -> PassResult:
        """Decode the tail (mono float32, 16 kHz). ``final``: the user has paused, so nothing is frozen.

        ``speech_s``: the speech may have ended there in the tail; then the previous text may be confirmed instead of
        decoding (:meth:`.decoder.WhisperEngine.decode`).
        """
        forced = 0
        if len(tail) > MAX_AUDIO_S * SAMPLE_RATE:  # two passes never agreed: cut at the quietest place, lose no audio
            forced = quietest(tail, int(8 * SAMPLE_RATE), int(20 * SAMPLE_RATE))
            head = self._engine.decode(tail[:forced])
            self._frozen = join(self._frozen, head.text)
            self._previous, tail, speech_s = None, tail[forced:], None
        h = self._engine.decode(
            tail,
            previous=self._frozen if self._context else "",
            before=self._previous,
            speech_s=speech_s,
            thorough=final,
        )
        text = join(self._frozen, h.text)
        drop = 0
        if not final and self._previous is not None and len(tail) > self._freeze_from_s * SAMPLE_RATE:
            drop = self._freeze(tail, h, self._previous)
        self._previous = None if drop else h
        return PassResult(text, forced + drop, h)

    def settle(self, text: str) -> None:
        """``text`` (all of it so far) is final: the speaker goes on after a pause. Hand in only what follows."""
        self._frozen = text
        self._previous = None

    def _freeze(self, tail: Float32, h: Hypothesis, previous: Hypothesis) -> int:
        agreed = common_words(h.text, previous.text)
        if agreed < 4:
            return 0
        words = self._engine.words(h)
        latest = len(tail) / SAMPLE_RATE - self._keep_s
        best, at = None, 0
        for i in range(2, min(agreed, len(words) - 1)):
            if not 1.0 <= words[i].end_s <= latest:
                continue
            cut, loudness = boundary(tail, words[i], words[i + 1])
            if best is None or loudness < best[0]:
                best, at = (loudness, cut), i + 1
        if best is None:
            return 0
        self._frozen = join(self._frozen, "".join(w.text for w in words[:at]))
        return best[1]


def join(a: str, b: str) -> str:
    """Two stretches of text with one space between them."""
    return f"{a.strip()} {b.strip()}".strip()


def common_words(a: str, b: str) -> int:
    """How many words the two texts share from the start."""
    n = 0
    for x, y in zip(words_key(a), words_key(b), strict=False):
        if x != y:
            break
        n += 1
    return n


def boundary(pcm: Float32, left: Word, right: Word) -> tuple[int, float]:
    """The quietest 30 ms between two words: (sample to cut at, its RMS). The alignment is good to about 100 ms."""
    middle = int((left.end_s + right.start_s) / 2 * SAMPLE_RATE)
    reach = int(0.12 * SAMPLE_RATE)
    cut = quietest(pcm, max(0, middle - reach), min(len(pcm), middle + reach))
    half = int(0.015 * SAMPLE_RATE)
    return cut, float(np.sqrt(np.mean(np.square(pcm[max(0, cut - half) : cut + half]))))
