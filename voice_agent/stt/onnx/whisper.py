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
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from faster_whisper import WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray
from tokenizers import Tokenizer as HfTokenizer

from ...errors import ModelError
from ...inference import open_session, session_options
from ...memory import give_back
from ..runtime import MAX_TOKENS, Generated
from . import graph
from .alignment import path
from .rules import Rules
from .weights import Weights

_HEAD = 64
_REDRAFT_FROM = 3  # this many tokens left of a draft are worth a step over all of them
_REDRAFT_WITHIN = 4  # after another token than the draft's, it is looked for among so many

Float32 = NDArray[np.float32]
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoder makes of the sound: the keys and values of each decoder layer."""

    values: Values


@dataclass(slots=True)
class _Said:
    """The decoder's memory of the tokens so far."""

    values: Values
    count: int

    def forget(self, kept: int) -> None:
        if kept < self.count:
            self.values = {k: _value(v.numpy()[:, :, :kept]) for k, v in self.values.items()}
            self.count = kept


@dataclass(frozen=True, slots=True)
class Aligned:
    """As ``ctranslate2.models.WhisperAlignmentResult``: (token, position) pairs, and each token's probability."""

    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


class OnnxWhisper:
    """A CTranslate2 model folder, run by onnxruntime. Raises ModelError when it does not load."""

    tokens_per_second = 50

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
        self.feature_extractor = FeatureExtractor(feature_size=weights.raw("encoder/conv1/weight").shape[1])
        self.model = self  # faster-whisper's find_alignment asks here
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
        with ThreadPoolExecutor(2) as pool:  # packing the weights is most of it, and numpy's
            encoder = pool.submit(lambda: _session(graph.encoder(weights), threads))
            decoder = pool.submit(lambda: _session(graph.decoder(weights, self._aligning), threads))
            self._encoder, self._decoder = encoder.result(), decoder.result()
        weights.let_go()
        give_back()  # what the models were written down in
        self._memory = [f"{kind}_{i}" for i in range(self._layers) for kind in ("key", "value")]
        self._empty = {
            f"past_{name}": _value(np.zeros((1, self._heads, 0, _HEAD), np.float32)) for name in self._memory
        }
        self.eot, self.sot, self._no_timestamps = (
            self._token(f"<|{name}|>") for name in ("endoftext", "startoftranscript", "notimestamps")
        )
        self._no_speech = self._no_timestamps - 1  # <|nospeech|>, in older files <|nocaptions|>
        self._rules = Rules(
            self.eot,
            self._no_timestamps + 1,
            np.array(config.get("suppress_ids", ()), np.int64),
            np.array(config.get("suppress_ids_begin", ()), np.int64),
            first_timestamp=50,
        )

    def _token(self, name: str) -> int:
        number = self.hf_tokenizer.token_to_id(name)
        if number is None:
            raise ModelError(f"the tokenizer of the Whisper model has no {name}: fetch the model again")
        return number

    def encode(self, features: Float32) -> Encoded:
        """``features`` [bins, frames]."""
        mel = _value(np.ascontiguousarray(features[None], np.float32))
        made = self._encoder.run_with_ort_values(self._memory, {"mel": mel})
        return Encoded(dict(zip(self._memory, made, strict=True)))

    def _step(
        self, encoded: Encoded, said: _Said, ids: Sequence[int], *, first: int = 0, attention: bool = False
    ) -> tuple[Float32, list[Float32]]:
        """``ids`` after what was ``said``, which grows by them. Logits [len(ids) - first, vocabulary]."""
        count, past = len(ids), said.count
        if past + count > MAX_TOKENS:
            raise ValueError(f"{past + count} tokens; Whisper takes {MAX_TOKENS}")
        x = self._embeddings[list(ids)].astype(np.float32) + self._places[past : past + count]
        mask = np.triu(np.full((count, count), -np.inf, np.float32), 1) if count > 1 else np.zeros((1, 1), np.float32)
        if count > 1 and past:
            mask = np.concatenate([np.zeros((count, past), np.float32), mask], axis=1)
        feeds = {"x": _value(x[None]), "mask": _value(mask), "first": _value(np.array([first], np.int64))}
        wanted = ["logits", *(f"new_{name}" for name in self._memory)]
        if attention:
            wanted += [f"attention_{i}" for i in self._aligning]
        made = self._decoder.run_with_ort_values(wanted, feeds | encoded.values | said.values)
        said.values = {f"past_{n}": v for n, v in zip(self._memory, made[1:], strict=False)}
        said.count += count
        return made[0].numpy()[0], [v.numpy()[0] for v in made[1 + len(self._memory) :]]

    def generate(self, encoded: Encoded, prompt: Sequence[int], bound: int, draft: Sequence[int] = ()) -> Generated:
        """The likeliest text after ``prompt``, at most ``bound`` tokens; ``draft``: what it may be."""
        bound = min(bound, MAX_TOKENS - len(prompt) - 1)
        begin = prompt.index(self.sot)
        said = _Said(dict(self._empty), 0)
        asked = list(draft[:bound])
        left = list(draft)
        rows, _ = self._step(encoded, said, [*prompt, *asked], first=begin)
        no_speech = float(_softmax(rows[0])[self._no_speech])
        rows = rows[len(prompt) - 1 - begin :]
        ids: list[int] = []
        score, steps = 0.0, 1
        while True:
            # Row by row as long as the draft is right; the row after it gives the token that stands there instead.
            for row, expected in zip(rows, [*asked, None], strict=True):
                token, likelihood = self._rules.choose(row, ids)
                score += likelihood
                if token == self.eot:
                    return Generated(tuple(ids), score / max(1, len(ids)), no_speech, steps)
                ids.append(token)
                if len(ids) >= bound:
                    return Generated(tuple(ids), score / len(ids), no_speech, steps)
                if token != expected:
                    break
                left = left[1:]
            # Another token than the draft's: the draft goes on after it where it comes a little later, else it waits.
            found = next((at for at, other in enumerate(left[:_REDRAFT_WITHIN]) if other == token), None)
            left = left if found is None else left[found + 1 :]
            asked = left[: bound - len(ids)] if found is not None and len(left) >= _REDRAFT_FROM else []
            said.forget(len(prompt) + len(ids) - 1)
            rows, _ = self._step(encoded, said, [token, *asked])
            steps += 1

    def align(
        self,
        encoded: Encoded,
        start_sequence: Sequence[int],
        text_tokens: Sequence[Sequence[int]],
        num_frames: int,
        *,
        median_filter_width: int = 7,
    ) -> list[Aligned]:
        """As ``ctranslate2.models.Whisper.align``: where each token lies in the sound, and how likely it is there."""
        return [
            self._align(encoded, [*start_sequence, self._no_timestamps], list(t), num_frames, median_filter_width)
            for t in text_tokens
        ]

    def _align(
        self, encoded: Encoded, start: list[int], text: list[int], frames: int, median_filter_width: int
    ) -> Aligned:
        ids = [*start, *text, self.eot][:MAX_TOKENS]
        logits, heard = self._step(
            encoded, _Said(dict(self._empty), 0), ids, first=len(start) - 1, attention=median_filter_width > 0
        )
        probabilities = [float(_softmax(row)[token]) for row, token in zip(logits, text, strict=False)]
        if not median_filter_width:
            return Aligned([], probabilities)
        of_layer = dict(zip(self._aligning, heard, strict=True))
        weights = np.stack([of_layer[layer][head] for layer, head in self._positions])
        weights = weights[:, :, : max(1, frames // 2)]
        return Aligned(path(weights, len(start) - 1, median_filter_width), probabilities)

    def likelihood(self, encoded: Encoded, tokenizer: Tokenizer, tokens: Sequence[int], frames: int) -> list[float]:
        """How likely each of ``tokens`` is for the sound, without timestamps, given those before it."""
        return self.align(encoded, tokenizer.sot_sequence, [tokens], frames, median_filter_width=0)[0].text_token_probs

    def alignment(
        self, encoded: Encoded, tokenizer: Tokenizer, tokens: Sequence[int], frames: int
    ) -> list[dict[str, Any]]:
        """faster-whisper's word times: its method reads no more of a model than ``align`` and ``tokens_per_second``."""
        found = WhisperModel.find_alignment(
            cast(Any, self), tokenizer, cast(Any, [list(tokens)]), cast(Any, encoded), frames
        )
        return list(cast(Any, found[0]))

    def detect_language(self, encoded: Encoded) -> str:
        """The likeliest language's code."""
        logits, _ = self._step(encoded, _Said(dict(self._empty), 0), [self.sot])
        best = max(self._languages, key=lambda i: float(logits[0][i]))
        return str(self.hf_tokenizer.id_to_token(best))[2:-2]


def _softmax(logits: Float32) -> Float32:
    likelihood = np.exp(logits - logits.max())
    result: Float32 = likelihood / likelihood.sum()
    return result


def _value(array: NDArray[Any]) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def _session(model: bytes, threads: int) -> Any:
    options = session_options(threads)
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return open_session(model, options)
    except Exception as e:
        raise ModelError(f"onnxruntime refuses the Whisper model ({e}): set stt.runtime to ctranslate2") from e
