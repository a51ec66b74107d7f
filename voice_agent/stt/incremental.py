"""One utterance, heard again and again while it lasts, at a cost that does not grow with it.

Each call decodes the tail: the audio since the last *frozen* word. When the tail grows long, the words that two passes
in a row agree on are frozen and their audio is dropped, cut at the quietest place between two words. So a pass costs
the same after 30 s of speech as after 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .decoder import MAX_AUDIO_S, SAMPLE_RATE, Float32, Hypothesis, WhisperEngine, Word, words_key

FREEZE_FROM_S = 9.0  # a tail longer than this is shortened ...
KEEP_S = 2.6  # ... but keeps at least this much, so that the words at its end keep their context


@dataclass(frozen=True, slots=True)
class Heard:
    """The whole text so far, and how many samples at the start of the tail are not needed any more."""

    text: str
    drop_samples: int
    hypothesis: Hypothesis


class Utterance:
    """Use from one thread (the engine's); hand in the tail each time, drop what :class:`Heard` says."""

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

    def hear(self, tail: Float32, *, final: bool = False, speech_s: float | None = None) -> Heard:
        """Decode the tail (mono float32, 16 kHz). ``final``: the user has paused, so nothing is frozen now.

        ``speech_s``: the user may have finished, and spoke until there in the tail; it may be that nothing is to be
        decoded then (see :meth:`WhisperEngine.decode`).
        """
        forced = 0
        if len(tail) > MAX_AUDIO_S * SAMPLE_RATE:  # two passes never agreed: cut at the quietest place, lose no sound
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
        return Heard(text, forced + drop, h)

    def settle(self, text: str) -> None:
        """``text`` (all of it so far) stands: the speaker has made a pause and goes on. Hand in only what follows."""
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
    """The quietest 30 ms near the seam of two words: (sample to cut at, its RMS). The alignment is good to ~100 ms."""
    middle = int((left.end_s + right.start_s) / 2 * SAMPLE_RATE)
    reach = int(0.12 * SAMPLE_RATE)
    cut = quietest(pcm, max(0, middle - reach), min(len(pcm), middle + reach))
    half = int(0.015 * SAMPLE_RATE)
    return cut, float(np.sqrt(np.mean(np.square(pcm[max(0, cut - half) : cut + half]))))


def quietest(pcm: Float32, start: int, stop: int) -> int:
    """Centre of the quietest 30 ms between two samples."""
    step, size = int(0.01 * SAMPLE_RATE), int(0.03 * SAMPLE_RATE)
    starts = range(start, max(start + 1, stop - size), step)
    best = min(starts, key=lambda i: float(np.mean(np.square(pcm[i : i + size]))))
    return min(best + size // 2, len(pcm))
