"""Whisper on onnxruntime, greedy, with an earlier text as a draft.

A pass over a little more sound than the last one mostly writes the same text again. Its tokens are therefore not asked
for one by one: all of them go through the decoder in one step, and those that it would have chosen itself are taken
(speculative decoding, https://arxiv.org/abs/2211.17192, with the previous pass as the draft). The text is the one that
greedy decoding gives, whatever the draft says.

Blocking. One instance is used by one thread at a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray
from tokenizers import Tokenizer as HfTokenizer

from ....errors import ModelError
from ....livekit_compat.faster_whisper import word_times
from ....onnx_tools.session import open_session, session_options
from ....runtime.malloc import trim_heap
from ..ctranslate2 import MAX_TOKENS, Generated
from . import whisper_graph as graph
from .alignment import path
from .token_rules import Best, Rules
from .weights import Weights

_HEAD = 64
_REDRAFT_FROM = 3  # this many tokens left of a draft are worth a step over all of them
_REDRAFT_WITHIN = 4  # after another token than the draft's, it is looked for among so many
_ECHO = 3  # so many tokens that were said before already: a loop has probably begun

Float32 = NDArray[np.float32]
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoder makes of the sound: the keys and values of each decoder layer."""

    values: Values


@dataclass(slots=True)
class _Said:
    """The decoder's memory of the tokens so far: the first ``count`` of those in ``values``."""

    values: Values
    count: int


@dataclass(frozen=True, slots=True)
class _Step:
    """``best`` for each row asked; ``likelihood`` [judged rows, asked tokens]; ``attention`` of the layers asked."""

    best: list[Best]
    likelihood: Float32
    attention: list[Float32]


@dataclass(frozen=True, slots=True)
class Aligned:
    """As ``ctranslate2.models.WhisperAlignmentResult``: (token, position) pairs, and each token's probability."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


class OnnxWhisper:
    """A CTranslate2 model folder, run by onnxruntime. Raises ModelError when it does not load."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        weights = Weights(folder / "model.bin")
        try:
            config = json.loads((folder / "config.json").read_text())
            self.hf_tokenizer = HfTokenizer.from_file(str(folder / "tokenizer.json"))
        except (OSError, ValueError) as e:
            raise ModelError(f"{folder} is no Whisper model of CTranslate2 ({e}): convert or fetch it again") from e
        except Exception as e:  # tokenizers raises bare Exception
            raise ModelError(f"{folder}/tokenizer.json cannot be read ({e}): fetch the model again") from e
        if not weights.layers("decoder") or "encoder/conv1/weight" not in weights:
            raise ModelError(f"{folder} is no Whisper model: choose one, such as tiny.en or base")
        self.is_multilingual = weights.raw("decoder/embeddings/weight").shape[0] >= 51865
        self._layers = weights.layers("decoder")
        self._heads = int(weights.raw("decoder/num_heads"))
        self._positions: list[tuple[int, int]] = [(int(a), int(b)) for a, b in config.get("alignment_heads", ())]
        if not self._positions:  # openai-whisper's default: all heads of the upper half
            self._positions = [(i, h) for i in range(self._layers // 2, self._layers) for h in range(self._heads)]
        self._aligning = sorted({layer for layer, _ in self._positions})
        self._languages = [int(i) for i in config.get("lang_ids", ())]
        # Rows of the file: a step takes a few of 51,865.
        self._embeddings = weights.raw("decoder/embeddings/weight")
        self._places = weights.array("decoder/position_encodings/encodings")
        self.eot, self.sot, self._no_timestamps = (
            self._token(f"<|{name}|>") for name in ("endoftext", "startoftranscript", "notimestamps")
        )
        self._no_speech = self._no_timestamps - 1  # <|nospeech|>, in older files <|nocaptions|>
        self._rules = Rules(
            self.eot,
            self._no_timestamps + 1,
            len(self._embeddings),
            frozenset(map(int, config.get("suppress_ids", ()))),
            first_timestamp=50,
        )
        with ThreadPoolExecutor(2) as pool:  # packing the weights is most of it, and numpy's
            encoder = pool.submit(lambda: _session(graph.encoder(weights), threads))
            decoder = pool.submit(lambda: _session(graph.decoder(weights, self._rules, self._aligning), threads))
            self._encoder, self._decoder = encoder.result(), decoder.result()
        weights.let_go()
        trim_heap()  # what the models were written down in
        self._memory = [f"{kind}_{i}" for i in range(self._layers) for kind in ("key", "value")]
        self._empty = {
            f"past_{name}": _value(np.zeros((1, self._heads, 0, _HEAD), np.float32)) for name in self._memory
        }

    def _token(self, name: str) -> int:
        number = self.hf_tokenizer.token_to_id(name)
        if number is None:
            raise ModelError(f"the tokenizer of the Whisper model has no {name}: fetch the model again")
        return number

    def encode(self, pcm: Float32, samples: int) -> Encoded:
        """``pcm`` at 16 kHz, and silence up to ``samples``."""
        feeds = {"pcm": _value(np.asarray(pcm, np.float32)), "silence": _ints([max(0, samples - len(pcm))])}
        made = self._encoder.run_with_ort_values(self._memory, feeds)
        return Encoded(dict(zip(self._memory, made, strict=True)))

    def _step(
        self,
        encoded: Encoded,
        said: _Said,
        ids: Sequence[int],
        rows: Sequence[int],
        times: Sequence[tuple[int, int]],
        *,
        judged: int = 0,
        asked: Sequence[int] = (),
        attention: bool = False,
    ) -> _Step:
        """``ids`` after what was ``said``, which grows by them. What may follow those at ``rows``, if the ``times``
        that :class:`Rules` tells for each are allowed there; in the first ``judged`` rows the probability of ``asked``.
        """
        count, past = len(ids), said.count
        if past + count > MAX_TOKENS:
            raise ValueError(f"{past + count} tokens; Whisper takes {MAX_TOKENS}")
        x = self._embeddings[list(ids)].astype(np.float32) + self._places[past : past + count]
        mask = np.triu(np.full((count, count), -np.inf, np.float32), 1) if count > 1 else np.zeros((1, 1), np.float32)
        if count > 1 and past:
            mask = np.concatenate([np.zeros((count, past), np.float32), mask], axis=1)
        feeds = {
            "x": _value(x[None]),
            "mask": _value(mask),
            "rows": _ints(rows),
            "from": _value(np.array([[first] for first, _ in times], np.int64)),
            "to": _value(np.array([[end] for _, end in times], np.int64)),
            "past": _ints([past]),
            "judged": _ints([judged]),
            "asked": _ints(asked),
        }
        wanted = ["ids", "scores", "likelihood", *(f"new_{name}" for name in self._memory)]
        if attention:
            wanted += [f"attention_{i}" for i in self._aligning]
        made = self._decoder.run_with_ort_values(wanted, feeds | encoded.values | said.values)
        found, scores, likelihood, *rest = made
        said.values = {f"past_{n}": v for n, v in zip(self._memory, rest, strict=False)}
        said.count += count
        return _Step(
            [Best(*i, *s) for i, s in zip(found.numpy()[0].tolist(), scores.numpy()[0].tolist(), strict=True)],
            likelihood.numpy()[0],
            [v.numpy()[0] for v in rest[len(self._memory) :]],
        )

    def generate(
        self,
        encoded: Encoded,
        prompt: Sequence[int],
        bound: int,
        draft: Sequence[int] = (),
        end: int | None = None,
    ) -> Generated:
        """The likeliest text after ``prompt``, at most ``bound`` tokens; ``draft``: what it may be. A segment that ends
        at the time ``end`` (a token) or later is the last: what follows is a loop or nothing, and takes steps."""
        bound = min(bound, MAX_TOKENS - len(prompt) - 1)
        said = _Said(dict(self._empty), 0)
        asked = list(draft[:bound])
        left = list(draft)
        ids: list[int] = []
        last = len(prompt) - 1
        step = self._step(
            encoded,
            said,
            [*prompt, *asked],
            [prompt.index(self.sot), *range(last, last + 1 + len(asked))],
            [(0, 0), *self._times(ids, asked)],
            judged=1,
            asked=[self._no_speech],
        )
        no_speech = float(step.likelihood[0, 0])
        rows = step.best[1:]
        score, steps = 0.0, 1
        while True:
            # Row by row as long as the draft is right; the row after it gives the token that stands there instead.
            for row, expected in zip(rows, [*asked, None], strict=True):
                token, likelihood = self._rules.choose(row, ids)
                score += likelihood
                if token == self.eot:
                    return Generated(tuple(ids), score / max(1, len(ids)), no_speech, steps)
                ids.append(token)
                if len(ids) >= bound or (end is not None and token >= end and self._rules.closed(ids)):
                    return Generated(tuple(ids), score / len(ids), no_speech, steps)
                if token != expected:
                    break
                left = left[1:]
            # Another token than the draft's: the draft goes on after it where it comes a little later, else it waits.
            found = next((at for at, other in enumerate(left[:_REDRAFT_WITHIN]) if other == token), None)
            left = left if found is None else left[found + 1 :]
            ready = found is not None and len(left) >= _REDRAFT_FROM
            if not ready and (again := _said_after(ids)):
                left, ready = again, True
            asked = left[: bound - len(ids)] if ready else []
            said.count = last + len(ids)
            rows = self._step(encoded, said, [token, *asked], range(1 + len(asked)), self._times(ids, asked)).best
            steps += 1

    def _times(self, ids: Sequence[int], asked: Sequence[int]) -> list[tuple[int, int]]:
        """What times may follow ``ids``, and each of ``asked`` after them."""
        together = [*ids, *asked]
        return [self._rules.times(together[:at]) for at in range(len(ids), len(together) + 1)]

    def align(
        self,
        encoder_output: Encoded,
        start_sequence: Sequence[int],
        text_tokens: Sequence[Sequence[int]],
        num_frames: int,
        *,
        median_filter_width: int = 7,
    ) -> list[Aligned]:
        """As ``ctranslate2.models.Whisper.align``: where each token lies in the sound, and how likely it is there."""
        return [
            self._align(
                encoder_output, [*start_sequence, self._no_timestamps], list(t), num_frames, median_filter_width
            )
            for t in text_tokens
        ]

    def _align(
        self, encoded: Encoded, start: list[int], text: list[int], frames: int, median_filter_width: int
    ) -> Aligned:
        ids = [*start, *text, self.eot][:MAX_TOKENS]
        told = ids[len(start) : -1]
        rows = range(len(start) - 1, len(start) - 1 + len(told))
        step = self._step(
            *(encoded, _Said(dict(self._empty), 0), ids, rows, [(0, 0)] * len(rows)),
            judged=len(rows),
            asked=told,
            attention=median_filter_width > 0,
        )
        probabilities = step.likelihood.diagonal().tolist()
        if not median_filter_width:
            return Aligned([], probabilities)
        of_layer = dict(zip(self._aligning, step.attention, strict=True))
        weights = np.stack([of_layer[layer][head] for layer, head in self._positions])
        weights = weights[:, :, : max(1, frames // 2)]
        return Aligned(path(weights, len(start) - 1, median_filter_width), probabilities)

    def likelihood(self, encoded: Encoded, tokenizer: Tokenizer, tokens: Sequence[int], frames: int) -> list[float]:
        """How likely each of ``tokens`` is for the sound, without timestamps, given those before it."""
        return self.align(encoded, tokenizer.sot_sequence, [tokens], frames, median_filter_width=0)[0].text_token_probs

    def alignment(
        self, encoded: Encoded, tokenizer: Tokenizer, tokens: Sequence[int], frames: int
    ) -> list[dict[str, Any]]:
        """faster-whisper's words with their times in s."""
        return word_times(self, tokenizer, tokens, encoded, frames)

    def detect_language(self, encoded: Encoded) -> str:
        """The likeliest language's code."""
        said = _Said(dict(self._empty), 0)
        step = self._step(encoded, said, [self.sot], [0], [(0, 0)], judged=1, asked=self._languages)
        best = self._languages[int(step.likelihood[0].argmax())]
        return str(self.hf_tokenizer.id_to_token(best))[2:-2]


def _said_after(ids: Sequence[int]) -> list[int]:
    """What followed the last tokens when they were said before: a loop says the same once more (prompt lookup
    decoding, https://github.com/apoorvumang/prompt-lookup-decoding). Empty: they were not."""
    last = ids[-_ECHO:]
    for at in range(len(ids) - _ECHO - 1, 0, -1):
        if ids[at : at + _ECHO] == last:
            return list(ids[at + _ECHO :])
    return []


def _ints(values: Sequence[int]) -> Any:
    return _value(np.array(values, np.int64))


def _value(array: NDArray[Any]) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def _session(model: bytes, threads: int) -> Any:
    options = session_options(threads)
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return open_session(model, options)
    except Exception as e:
        raise ModelError(f"onnxruntime refuses the Whisper model ({e}): set stt.backend to ctranslate2") from e
