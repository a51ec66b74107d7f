"""A Whisper model in onnxruntime: the encoder's and the decoder's session, and one decoder step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ModelError
from ....onnx_tools.onnx_session import onnx_session, session_options
from ....runtime.malloc import trim_heap
from ...pcm import Float32
from ..base import MAX_TOKENS
from . import whisper_graph as graph
from .ct2_file import Ct2File
from .token_rules import Best, Rules

HEAD_WIDTH = 64
FIRST_TIMESTAMP = 50  # a text begins within its first second

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The encoder's output: keys and values for each decoder layer."""

    values: Values


@dataclass(slots=True)
class DecoderMemory:
    """Keys and values of the tokens so far: the first ``count`` of those in ``values``."""

    values: Values
    count: int


@dataclass(frozen=True, slots=True)
class DecoderStep:
    """``best`` of each row; ``likelihood`` [scored rows, scored tokens]; ``attention`` of the alignment layers."""

    best: list[Best]
    likelihood: Float32
    attention: list[Float32]


class WhisperSessions:
    """The sessions of a CTranslate2 model folder. Raises ModelError if it does not load."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        from tokenizers import Tokenizer

        weights = Ct2File(folder / "model.bin")
        try:
            config = json.loads((folder / "config.json").read_text())
            self.hf_tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except (OSError, ValueError) as e:
            raise ModelError(f"{folder} is no Whisper model of CTranslate2 ({e}): convert or fetch it again") from e
        except Exception as e:  # tokenizers raises bare Exception
            raise ModelError(f"{folder}/tokenizer.json cannot be read ({e}): fetch the model again") from e
        if not weights.layers("decoder") or "encoder/conv1/weight" not in weights:
            raise ModelError(f"{folder} is no Whisper model: choose one, such as tiny.en or base")
        layers, heads = weights.layers("decoder"), int(weights.raw("decoder/num_heads"))
        self.alignment_heads: list[tuple[int, int]] = [(int(a), int(b)) for a, b in config.get("alignment_heads", ())]
        if not self.alignment_heads:  # openai-whisper's default: all heads of the upper half
            self.alignment_heads = [(i, h) for i in range(layers // 2, layers) for h in range(heads)]
        self.alignment_layers = sorted({layer for layer, _ in self.alignment_heads})
        self.languages = [int(i) for i in config.get("lang_ids", ())]
        # Rows of the file: a step reads a few of 51,865.
        self._embeddings = weights.raw("decoder/embeddings/weight")
        self._positions = weights.array("decoder/position_encodings/encodings")
        self.vocabulary = len(self._embeddings)
        self.eot, self.sot, self.no_timestamps = (
            self._token(f"<|{name}|>") for name in ("endoftext", "startoftranscript", "notimestamps")
        )
        self.no_speech = self.no_timestamps - 1  # <|nospeech|>, in older files <|nocaptions|>
        never = frozenset(map(int, config.get("suppress_ids", ())))
        self.rules = Rules(self.eot, self.no_timestamps + 1, self.vocabulary, never, FIRST_TIMESTAMP)
        with ThreadPoolExecutor(2) as pool:  # most of the time goes into packing the weights, in numpy
            encoder = pool.submit(lambda: _session(graph.encoder(weights), threads))
            decoder = pool.submit(lambda: _session(graph.decoder(weights, self.rules, self.alignment_layers), threads))
            self._encoder, self._decoder = encoder.result(), decoder.result()
        weights.let_go()
        trim_heap()  # the memory in which the graphs were written
        self._memory = [f"{kind}_{i}" for i in range(layers) for kind in ("key", "value")]
        self._empty = {f"past_{name}": _value(np.zeros((1, heads, 0, HEAD_WIDTH), np.float32)) for name in self._memory}

    def _token(self, name: str) -> int:
        number = self.hf_tokenizer.token_to_id(name)
        if number is None:
            raise ModelError(f"the tokenizer of the Whisper model has no {name}: fetch the model again")
        return number

    def encode(self, pcm: Float32, samples: int) -> Encoded:
        """``pcm`` (mono, 16 kHz) with silence up to ``samples``."""
        feeds = {"pcm": _value(np.asarray(pcm, np.float32)), "silence": _ints([max(0, samples - len(pcm))])}
        made = self._encoder.run_with_ort_values(self._memory, feeds)
        return Encoded(dict(zip(self._memory, made, strict=True)))

    def new_memory(self) -> DecoderMemory:
        """The decoder's memory before the first token."""
        return DecoderMemory(dict(self._empty), 0)

    def step(
        self,
        encoded: Encoded,
        memory: DecoderMemory,
        ids: Sequence[int],
        rows: Sequence[int],
        times: Sequence[tuple[int, int]],
        *,
        scored_rows: int = 0,
        scored_tokens: Sequence[int] = (),
        attention: bool = False,
    ) -> DecoderStep:
        """Read ``ids`` after the tokens in ``memory``, which grows by them.

        The result has the best successors of the tokens at ``rows``; ``times``: the timestamps allowed in each row
        (:meth:`.token_rules.Rules.times`). For the first ``scored_rows`` rows it has the probability of each of
        ``scored_tokens``. Raises ValueError for more tokens than Whisper takes.
        """
        count, past = len(ids), memory.count
        if past + count > MAX_TOKENS:
            raise ValueError(f"{past + count} tokens; Whisper takes {MAX_TOKENS}")
        x = self._embeddings[list(ids)].astype(np.float32) + self._positions[past : past + count]
        feeds = {
            "x": _value(x[None]),
            "mask": _value(_mask(count, past)),
            "rows": _ints(rows),
            "from": _value(np.array([[first] for first, _ in times], np.int64)),
            "to": _value(np.array([[end] for _, end in times], np.int64)),
            "past": _ints([past]),
            "scored_rows": _ints([scored_rows]),
            "scored_tokens": _ints(scored_tokens),
        }
        outputs = ["ids", "scores", "likelihood", *(f"new_{name}" for name in self._memory)]
        if attention:
            outputs += [f"attention_{i}" for i in self.alignment_layers]
        made = self._decoder.run_with_ort_values(outputs, feeds | encoded.values | memory.values)
        found, scores, likelihood, *rest = made
        memory.values = {f"past_{n}": v for n, v in zip(self._memory, rest, strict=False)}
        memory.count += count
        return DecoderStep(
            [Best(*i, *s) for i, s in zip(found.numpy()[0].tolist(), scores.numpy()[0].tolist(), strict=True)],
            likelihood.numpy()[0],
            [v.numpy()[0] for v in rest[len(self._memory) :]],
        )


def _mask(count: int, past: int) -> Float32:
    """Added to the attention scores [count, past + count]: each token sees those before it and itself."""
    if count == 1:
        return np.zeros((1, 1), np.float32)
    mask = np.triu(np.full((count, count), -np.inf, np.float32), 1)
    return np.concatenate([np.zeros((count, past), np.float32), mask], axis=1) if past else mask


def _ints(values: Sequence[int]) -> Any:
    return _value(np.array(values, np.int64))


def _value(array: NDArray[Any]) -> Any:
    import onnxruntime as ort

    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def _session(model: bytes, threads: int) -> Any:
    options = session_options(threads)
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnx_session(model, options)
    except Exception as e:
        raise ModelError(f"onnxruntime refuses the Whisper model ({e}): set stt.backend to ctranslate2") from e
