"""Greedy decoding that stops where the audio cannot hold more words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..livekit_compat import faster_whisper as compat
from .backends.base import MAX_TOKENS, Generated
from .encoded_audio import EncodedAudio
from .guards.repetition import strip_restart
from .hypothesis import Hypothesis

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer

TOKENS, TOKENS_PER_S = 5, 6
"""Nobody says more tokens than ``TOKENS`` and ``TOKENS_PER_S`` for each second."""


def prompt_of(tokenizer: Tokenizer, previous: str, hotwords: str | None) -> list[int]:
    """faster-whisper's prompt for a text with timestamps after the text ``previous``."""
    before = tokenizer.encode(" " + previous.strip()) if previous else []
    return compat.prompt(tokenizer, before, hotwords, MAX_TOKENS)


def generate(
    audio: EncodedAudio, prompt: Sequence[int], before: Hypothesis | None, thorough: bool
) -> tuple[Generated, bool]:
    """Tokens for ``audio``, and whether decoding was stopped at the bound (a loop does not stop by itself).

    ``before``: an earlier pass over the beginning; its tokens are the draft, and the first bound allows only a few
    more. A ``thorough`` pass that was stopped without an end is decoded again with the bound of the whole audio.
    """
    bounds = [int(TOKENS + audio.audio_s * TOKENS_PER_S)]
    if before is not None and before.tokens:
        more = int(TOKENS + (audio.audio_s - before.audio_s) * TOKENS_PER_S)
        bounds.insert(0, min(bounds[0], len(before.tokens) + more))
    draft = before.ids if before is not None else ()
    end = audio.end_timestamp
    for bound in bounds:
        result = audio.backend.generate(audio.encoded, prompt, bound, draft, end)
        ids = result.ids
        at_end = len(ids) > 1 and ids[-1] >= end and ids[-2] < audio.tokenizer.timestamp_begin
        stopped = len(ids) >= bound and not at_end
        if not thorough or not stopped or _has_ended(ids, audio):
            break
    return result, stopped


def _has_ended(ids: Sequence[int], audio: EncodedAudio) -> bool:
    """Whether a text that was stopped had already come to its end: at an end mark, or in its second round."""
    tokens, dropped_tail = cut_at_end_mark(ids, audio)
    return dropped_tail or strip_restart(audio.tokenizer.decode(tokens).strip(), audio.audio_s)[1]


def cut_at_end_mark(ids: Sequence[int], audio: EncodedAudio) -> tuple[list[int], bool]:
    """The text tokens up to the first end-of-segment timestamp at the end of the audio; whether text followed it."""
    begin, eot, end = audio.tokenizer.timestamp_begin, audio.tokenizer.eot, audio.end_timestamp
    kept: list[int] = []
    for at, i in enumerate(ids):
        if i >= begin:
            if kept and i >= end:
                return kept, any(j < eot for j in ids[at:])
        elif i < eot:
            kept.append(i)
    return kept, False
