"""Whisper on onnxruntime, greedy, with an earlier text as a draft.

A pass over a little more audio than the last one mostly writes the same text again. So the last text's tokens go
through the decoder in one step, and those that it would have chosen itself are accepted (speculative decoding,
https://arxiv.org/abs/2211.17192, with the previous pass as the draft). The text is the one that greedy decoding gives,
whatever the draft says.

Blocking. One instance is used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....livekit_compat.faster_whisper import word_times
from ...pcm import Float32
from ..base import MAX_TOKENS, Generated
from .alignment import path
from .whisper_sessions import Encoded, WhisperSessions

if TYPE_CHECKING:
    from faster_whisper.tokenizer import Tokenizer

REDRAFT_FROM = 3
"""A draft of at least so many tokens is worth a step over all of them."""
REDRAFT_WITHIN = 4
"""A token that is not the draft's is looked for among its next so many."""
REPEATED_TOKENS = 3
"""So many tokens that occurred before: a loop has probably begun."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """As ``ctranslate2.models.WhisperAlignmentResult``: (token, position) pairs, and each token's probability."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


class OnnxWhisper:
    """A CTranslate2 model folder, run by onnxruntime. Raises ModelError when it does not load."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self._model = WhisperSessions(folder, threads=threads)
        self.hf_tokenizer = self._model.hf_tokenizer
        self.is_multilingual = self._model.vocabulary >= 51865

    def encode(self, pcm: Float32, samples: int) -> Encoded:
        """``pcm`` (mono, 16 kHz) with silence up to ``samples``."""
        return self._model.encode(pcm, samples)

    def generate(
        self, encoded: Encoded, prompt: Sequence[int], bound: int, draft: Sequence[int] = (), end: int | None = None
    ) -> Generated:
        """The likeliest text after ``prompt``, at most ``bound`` tokens. ``draft``: tokens that it may have. A segment
        that ends at the timestamp token ``end`` or later is the last: only a loop, or nothing, would follow."""
        model, rules = self._model, self._model.rules
        bound = min(bound, MAX_TOKENS - len(prompt) - 1)
        memory = model.new_memory()
        drafted = list(draft[:bound])
        left = list(draft)
        ids: list[int] = []
        last = len(prompt) - 1
        step = model.step(
            encoded,
            memory,
            [*prompt, *drafted],
            [prompt.index(model.sot), *range(last, last + 1 + len(drafted))],
            [(0, 0), *self._times(ids, drafted)],
            scored_rows=1,
            scored_tokens=[model.no_speech],
        )
        no_speech = float(step.likelihood[0, 0])
        rows = step.best[1:]
        score, steps = 0.0, 1
        while True:
            # Row by row as long as the draft is right; the row after it gives the token that belongs there.
            for row, expected in zip(rows, [*drafted, None], strict=True):
                token, likelihood = rules.choose(row, ids)
                score += likelihood
                if token == model.eot:
                    return Generated(tuple(ids), score / max(1, len(ids)), no_speech, steps)
                ids.append(token)
                if len(ids) >= bound or (end is not None and token >= end and rules.closed(ids)):
                    return Generated(tuple(ids), score / len(ids), no_speech, steps)
                if token != expected:
                    break
                left = left[1:]
            left, ready = _next_draft(token, left, ids)
            drafted = left[: bound - len(ids)] if ready else []
            memory.count = last + len(ids)
            rows = model.step(
                encoded, memory, [token, *drafted], range(1 + len(drafted)), self._times(ids, drafted)
            ).best
            steps += 1

    def _times(self, ids: Sequence[int], drafted: Sequence[int]) -> list[tuple[int, int]]:
        """The timestamps that may follow ``ids``, and each of ``drafted`` after them."""
        together = [*ids, *drafted]
        return [self._model.rules.times(together[:at]) for at in range(len(ids), len(together) + 1)]

    def align(
        self,
        encoder_output: Encoded,
        start_sequence: Sequence[int],
        text_tokens: Sequence[Sequence[int]],
        num_frames: int,
        *,
        median_filter_width: int = 7,
    ) -> list[Aligned]:
        """As ``ctranslate2.models.Whisper.align``: where each token lies in the audio, and its probability there."""
        start = [*start_sequence, self._model.no_timestamps]
        return [self._align(encoder_output, start, list(t), num_frames, median_filter_width) for t in text_tokens]

    def _align(
        self, encoded: Encoded, start: list[int], text: list[int], frames: int, median_filter_width: int
    ) -> Aligned:
        model = self._model
        ids = [*start, *text, model.eot][:MAX_TOKENS]
        scored = ids[len(start) : -1]
        rows = range(len(start) - 1, len(start) - 1 + len(scored))
        step = model.step(
            *(encoded, model.new_memory(), ids, rows, [(0, 0)] * len(rows)),
            scored_rows=len(rows),
            scored_tokens=scored,
            attention=median_filter_width > 0,
        )
        probabilities = step.likelihood.diagonal().tolist()
        if not median_filter_width:
            return Aligned([], probabilities)
        of_layer = dict(zip(model.alignment_layers, step.attention, strict=True))
        weights = np.stack([of_layer[layer][head] for layer, head in model.alignment_heads])
        weights = weights[:, :, : max(1, frames // 2)]
        return Aligned(path(weights, len(start) - 1, median_filter_width), probabilities)

    def likelihood(self, encoded: Encoded, tokenizer: Tokenizer, tokens: Sequence[int], frames: int) -> list[float]:
        """The probability of each of ``tokens`` given those before it, without timestamps."""
        return self.align(encoded, tokenizer.sot_sequence, [tokens], frames, median_filter_width=0)[0].text_token_probs

    def alignment(
        self, encoded: Encoded, tokenizer: Tokenizer, tokens: Sequence[int], frames: int
    ) -> list[dict[str, Any]]:
        """faster-whisper's words with their times in s."""
        return word_times(self, tokenizer, tokens, encoded, frames)

    def detect_language(self, encoded: Encoded) -> str:
        """The code of the likeliest language."""
        model = self._model
        step = model.step(
            *(encoded, model.new_memory(), [model.sot], [0], [(0, 0)]), scored_rows=1, scored_tokens=model.languages
        )
        best = model.languages[int(step.likelihood[0].argmax())]
        return str(self.hf_tokenizer.id_to_token(best))[2:-2]


def _next_draft(token: int, left: list[int], ids: Sequence[int]) -> tuple[list[int], bool]:
    """The draft after a ``token`` that was not the draft's, and whether it is worth a step.

    It goes on after ``token`` if that comes a little later in it, else it waits. Where the last tokens occurred before,
    what followed them then is the draft.
    """
    found = next((at for at, other in enumerate(left[:REDRAFT_WITHIN]) if other == token), None)
    left = left if found is None else left[found + 1 :]
    ready = found is not None and len(left) >= REDRAFT_FROM
    if not ready and (again := after_earlier_occurrence(ids)):
        return again, True
    return left, ready


def after_earlier_occurrence(ids: Sequence[int]) -> list[int]:
    """What followed the last tokens where they occurred before: a loop repeats it (prompt lookup decoding,
    https://github.com/apoorvumang/prompt-lookup-decoding). Empty if they did not occur."""
    last = ids[-REPEATED_TOKENS:]
    for at in range(len(ids) - REPEATED_TOKENS - 1, 0, -1):
        if ids[at : at + REPEATED_TOKENS] == last:
            return list(ids[at + REPEATED_TOKENS :])
    return []
