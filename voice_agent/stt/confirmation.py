"""Asks the decoder whether a given text is right for the audio: one step over all its tokens, so nothing can loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .encoded_audio import EncodedAudio, without_stop
from .guards.repetition import repetitions_removed, strip_restart
from .hypothesis import Hypothesis

MORE_SPEECH_S = 0.4
"""At most this much speech may be new to a text that is confirmed."""
STOP = 0.2
"""Least probability of the sentence mark after the text."""
LAST_WORDS = 0.4
"""Least probability of each of the last three tokens."""
LAST_WORDS_SHORT = 0.5
"""The same for short audio: below one half decoding might choose another token, and a few tokens cost little."""
LAST_WORDS_LOOP = 0.15
"""The same for a text without its repetition."""
LOOP_GAP_S = 0.5
"""At most this much audio may follow the last word of a text without its second round."""


def confirm(h: Hypothesis, audio: EncodedAudio, speech_s: float, *, short: bool) -> Hypothesis | None:
    """``h``, decoded from the beginning of ``audio``, as a hypothesis of all of it; None if it does not hold.

    ``speech_s``: where the speech ends in the audio. When the user pauses, the text is usually known: the last pass
    heard all but the end of the last word. If another word was spoken, the full stop is unlikely after the text: with
    the last word removed its probability was at most 0.002, with the whole text at least 0.198 (37 clips, tiny.en and
    base).
    """
    if not h.tokens or h.guard in ("wide", "silence") or speech_s - h.audio_s > MORE_SPEECH_S:
        return None
    if not _is_likely(audio.likelihood(h.text), LAST_WORDS_SHORT if short else LAST_WORDS):
        return None
    return replace(h, audio_s=audio.audio_s, guard="confirmed", end_s=None, encoded=audio.encoded)


def strip_slow_loop(text: str, audio: EncodedAudio) -> tuple[str, bool]:
    """Remove a repetition for which there was time, if the text without it accounts for all of the audio.

    Returns (text, whether something was removed).
    """
    if len(text.split()) < 6:
        return text, False
    once, repeats = strip_restart(text, audio.audio_s, max_words_per_s=1.0)
    if repeats:
        found = audio.word_times(audio.tokenizer.encode(" " + without_stop(once)))
        return (once, True) if found and audio.audio_s - found[-1]["end"] <= LOOP_GAP_S else (text, False)
    for once in repetitions_removed(text):
        if _is_likely(audio.likelihood(once), LAST_WORDS_LOOP):
            return once, True
    return text, False


def _is_likely(probabilities: Sequence[float], last_words: float) -> bool:
    """The sentence mark and the last three tokens before it are likely enough."""
    return probabilities[-1] >= STOP and min(probabilities[-4:-1], default=1.0) >= last_words
