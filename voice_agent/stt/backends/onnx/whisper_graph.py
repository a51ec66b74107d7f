"""Whisper's encoder and decoder (https://arxiv.org/abs/2212.04356) as ONNX models, made from its weights.

Encoder: integer weights with a scale for each output, activations of 8 bits with a scale for each position, as in
CTranslate2's ``int8``. On processors without VNNI the fast kernel (unsigned times signed 8 bits) adds two products in
16 bits, which overflows where both are large; so these weights have 7 bits. Decoder: it reads a token at a time, so its
time goes into reading the weights and into the number of operations. Its weights have 8 bits in blocks with a scale
each, and one operation (MatMulNBits) does what takes ten otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ....onnx_tools.writer import MICROSOFT, Graph
from .ct2_file import Ct2File
from .token_rules import LEAST, Rules

Integer = TypeVar("Integer", np.int8, np.uint8)

_LAYER_NORM_EPSILON = 1e-5
_ROWS = 1024  # packed at a time: they fit a cache
_BLOCK = 128  # weights with one scale; blocks of 32 take a tenth longer


class Network(Graph):
    """Whisper's layers. ``blocks``: weights of 8 bits in blocks (fast for few positions), else of 7 bits (for many)."""

    def __init__(self, *, blocks: bool) -> None:
        super().__init__("whisper")
        self._blocks = blocks

    def linear(self, x: str, weight: NDArray[np.floating], bias: NDArray[np.float32] | None = None) -> str:
        """``x`` [1, positions, in] times ``weight`` [out, in], computed in integers; float32 out."""
        inputs = weight.shape[1]
        if self._blocks:
            numbers, step_of = _quantized(weight, math.gcd(inputs, _BLOCK), 127, np.uint8(128))
            return self.in_blocks(x, numbers, step_of, bias=bias)
        packed, scale = _quantized(weight, inputs, 63, np.int8(0))
        # The maximum and the minimum: absolute values would be written to memory, five times the work.
        largest = self.op(
            "Max", self.op("ReduceMax", x, self.ints(-1)), self.op("Neg", self.op("ReduceMin", x, self.ints(-1)))
        )
        step = self.op("Mul", largest, self.scalar(1 / 127))
        steps = self.op("Reshape", step, self.ints(-1))
        zero = self.constant(np.array(128, np.uint8))
        small = self.op("QuantizeLinear", x, steps, self.op("Expand", zero, self.op("Shape", steps)), axis=1)
        product = self.op(
            "MatMulIntegerToFloat",
            *(small, self.constant(packed[:, 0].T), self.scalar(1.0), self.constant(scale[:, 0]), zero),
            domain=MICROSOFT,
        )
        product = self.op("Mul", product, step)
        return product if bias is None else self.op("Add", product, self.constant(bias))

    def norm(self, x: str, w: Ct2File, name: str) -> str:
        gamma, beta = self.constant(w.array(f"{name}/gamma")), self.constant(w.array(f"{name}/beta"))
        return self.op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=_LAYER_NORM_EPSILON)

    def feed_forward(self, x: str, w: Ct2File, name: str) -> str:
        inner = self.linear(self.norm(x, w, f"{name}/layer_norm"), w.array(f"{name}/linear_0/weight"))
        inner = self.op("BiasGelu", inner, self.constant(w.array(f"{name}/linear_0/bias")), domain=MICROSOFT)
        return self.op(
            "Add", x, self.linear(inner, w.array(f"{name}/linear_1/weight"), w.array(f"{name}/linear_1/bias"))
        )

    def heads(self, x: str, heads: int, *, turned: bool = False) -> str:
        """[1, positions, width] to [1, heads, positions, width / heads]; ``turned``: the last two swapped."""
        x = self.op("Reshape", x, self.ints(1, -1, heads, 64))
        return self.op("Transpose", x, perm=(0, 2, 3, 1) if turned else (0, 2, 1, 3))

    def together(self, x: str, heads: int) -> str:
        """The reverse of :meth:`heads`."""
        return self.op("Reshape", self.op("Transpose", x, perm=(0, 2, 1, 3)), self.ints(1, -1, heads * 64))


def _quantized(
    weight: NDArray[np.floating], size: int, most: int, zero: Integer
) -> tuple[NDArray[Integer], NDArray[np.float32]]:
    """Quantize [out, in]: integers within ``most`` of ``zero`` [out, blocks, ``size``], and the step of each block."""
    outputs, inputs = weight.shape
    numbers = np.empty((outputs, inputs // size, size), zero.dtype)
    steps = np.empty((outputs, inputs // size), np.float32)
    for start in range(0, outputs, _ROWS):
        part = weight[start : start + _ROWS].astype(np.float32).reshape(-1, inputs // size, size)
        largest = np.maximum(np.maximum(part.max(axis=2), -part.min(axis=2)), np.float32(1e-12))
        here = steps[start : start + _ROWS] = largest / np.float32(most)
        part *= (1 / here)[..., None]
        part += zero
        numbers[start : start + _ROWS] = np.rint(part, out=part).astype(zero.dtype)
    return numbers, steps


def _projection(w: Ct2File, name: str, scaled: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias; the first ``scaled`` outputs (the queries) divided by the square root of a head's width, 64."""
    weight, bias = w.array(f"{name}/weight"), w.array(f"{name}/bias")
    weight[:scaled] /= 8
    bias[:scaled] /= 8
    return weight, bias


def features(g: Graph, pcm: str, silence: str, bins: int) -> str:
    """``pcm`` [samples] at 16 kHz and ``silence`` [1] more samples, as Whisper's log-mel spectrum [1, bins, frames].

    As faster-whisper's ``FeatureExtractor``, a frame every 10 ms. It is part of the graph because numpy would release
    and take Python's lock a dozen times, and OpenBLAS would spin a second thread for 2 ms of work.
    """
    from faster_whisper.feature_extractor import FeatureExtractor

    like = FeatureExtractor(feature_size=bins)
    size = like.n_fft
    angles = 2 * np.pi / size * np.outer(np.arange(size // 2 + 1), np.arange(size))
    waves = np.concatenate([np.cos(angles), np.sin(angles)]) * np.hanning(size + 1)[:-1]
    x = g.op("Pad", pcm, g.op("Concat", g.ints(0), silence, axis=0))
    x = g.op("Unsqueeze", x, g.ints(0, 1))
    x = g.op("Pad", x, g.ints(0, 0, size // 2, 0, 0, size // 2), mode="reflect")
    kernel = g.constant(waves.astype(np.float32)[:, None])
    x = g.op("Conv", x, kernel, kernel_shape=(size,), strides=(like.hop_length,))
    x = g.op("Slice", x, g.ints(0), g.ints(-1), g.ints(2))  # without the last frame, as faster-whisper
    x = g.op("Reshape", g.op("Mul", x, x), g.ints(1, 2, size // 2 + 1, -1))
    power = g.op("ReduceSum", x, g.ints(1), keepdims=0)
    mel = g.op("MatMul", g.constant(like.mel_filters), power)
    mel = g.op("Mul", g.op("Log", g.op("Max", mel, g.scalar(1e-10))), g.scalar(1 / np.log(10)))
    mel = g.op("Max", mel, g.op("Sub", g.op("ReduceMax", mel), g.scalar(8.0)))
    return g.op("Mul", g.op("Add", mel, g.scalar(4.0)), g.scalar(0.25))


def encoder(w: Ct2File) -> bytes:
    """Audio to the keys and values of every decoder layer, 50 positions a second.

    Inputs: ``pcm`` and ``silence`` as in :func:`features`.
    Outputs ``key_i`` [1, heads, 64, positions] and ``value_i`` [1, heads, positions, 64].
    """
    g = Network(blocks=False)
    width, heads = w.raw("encoder/conv1/bias").size, int(w.raw("encoder/num_heads"))
    bins = w.raw("encoder/conv1/weight").shape[1]
    x = features(g, g.input("pcm"), g.input("silence", np.int64), bins)
    for name, stride in (("conv1", 1), ("conv2", 2)):
        kernel, bias = g.constant(w.array(f"encoder/{name}/weight")), g.constant(w.array(f"encoder/{name}/bias"))
        x = g.op("Conv", x, kernel, bias, kernel_shape=(3,), pads=(1, 1), strides=(stride,))
        x = g.op("Gelu", x, domain=MICROSOFT)
    x = g.op("Transpose", x, perm=(0, 2, 1))
    places = g.constant(w.array("encoder/position_encodings/encodings")[None])
    positions = g.op("Slice", g.op("Shape", x), g.ints(1), g.ints(2))
    x = g.op("Add", x, g.op("Slice", places, g.ints(0), positions, g.ints(1)))
    for i in range(w.layers("encoder")):
        name = f"encoder/layer_{i}"
        attention = f"{name}/self_attention"
        normed = g.norm(x, w, f"{attention}/layer_norm")
        projected = g.linear(normed, *_projection(w, f"{attention}/linear_0", width))
        query, key, value = g.split("Split", 3, projected, g.ints(width, width, width), axis=-1)
        seen = g.op("MultiHeadAttention", query, key, value, domain=MICROSOFT, num_heads=heads, scale=1.0)
        x = g.op("Add", x, g.linear(seen, *_projection(w, f"{attention}/linear_1")))
        x = g.feed_forward(x, w, f"{name}/ffn")
    x = g.norm(x, w, "encoder/layer_norm")
    for i in range(w.layers("decoder")):
        both = g.linear(x, *_projection(w, f"decoder/layer_{i}/attention/linear_1"))
        key, value = g.split("Split", 2, both, g.ints(width, width), axis=-1)
        g.output(f"key_{i}", g.heads(key, heads, turned=True))
        g.output(f"value_{i}", g.heads(value, heads))
    return g.model()


def best(g: Graph, logits: str, rules: Rules) -> None:
    """What the token rules need of ``logits`` [1, rows, vocabulary].

    Inputs ``from`` and ``to`` [rows, 1]: the timestamps allowed in each row, counted from the first (``Rules.times``).
    Outputs ``ids`` [1, rows, 2] and ``scores`` [1, rows, 5]: the fields of :class:`.token_rules.Best` in their order.
    """
    begin, size = rules.timestamp_begin, rules.size
    bias = np.zeros(begin, np.float32)
    bias[list(rules.suppressed)] = LEAST
    words = g.op("Add", g.op("Slice", logits, g.ints(0), g.ints(begin), g.ints(2)), g.constant(bias))
    end = g.op("Slice", logits, g.ints(rules.eot), g.ints(rules.eot + 1), g.ints(2))
    place = g.constant(np.arange(size - begin, dtype=np.int64)[None])
    allowed = g.op(
        "And",
        g.op("GreaterOrEqual", place, g.input("from", np.int64)),
        g.op("Less", place, g.input("to", np.int64)),
    )
    times = g.op("Where", allowed, g.op("Slice", logits, g.ints(begin), g.ints(size), g.ints(2)), g.scalar(LEAST))
    found = []
    for of in (words, times):
        top, at = g.split("TopK", 2, of, g.ints(1), axis=-1)
        # The log-sum-exp is the largest logit less its log-probability.
        share = g.op("ReduceMax", g.op("LogSoftmax", of, axis=-1), g.ints(-1))
        found.append((at, top, g.op("Sub", top, share)))
    (word_id, word, all_words), (time_id, time, all_times) = found
    time_id = g.op("Add", time_id, g.ints(begin))
    g.output("ids", g.op("Concat", word_id, time_id, axis=-1), np.int64)
    g.output("scores", g.op("Concat", word, all_words, end, time, all_times, axis=-1))


def decoder(w: Ct2File, rules: Rules, attention_of: Sequence[int] = ()) -> bytes:
    """One step over any number of tokens.

    Inputs: ``x`` [1, tokens, width] (embeddings with their positions); ``mask``, added to the attention scores
    ([tokens, past + tokens], or broadcast to it); ``rows`` [rows] (the tokens whose successors are wanted); ``from``
    and ``to`` as in :func:`best`; for each layer the encoder's ``key_i`` and ``value_i``, and ``past_key_i`` and
    ``past_value_i`` [1, heads, past or more, 64], of which the first ``past`` [1] are read; ``scored_rows`` [1] and
    ``scored_tokens`` [scored tokens]: the first so many rows give the probability of each of these tokens.
    Outputs: those of :func:`best`; ``likelihood`` [1, scored rows, scored tokens]; ``past_*`` with this step's tokens
    as ``new_*``; for the layers ``attention_of`` the attention to the audio, ``attention_i`` [1, heads, tokens,
    positions].
    """
    g = Network(blocks=True)
    width, heads = w.raw("encoder/conv1/bias").size, int(w.raw("decoder/num_heads"))
    x, mask, rows, past = g.input("x"), g.input("mask"), g.input("rows", np.int64), g.input("past", np.int64)
    for i in range(w.layers("decoder")):
        name = f"decoder/layer_{i}"
        own, cross = f"{name}/self_attention", f"{name}/attention"
        projected = g.linear(g.norm(x, w, f"{own}/layer_norm"), *_projection(w, f"{own}/linear_0", width))
        query, *now = g.split("Split", 3, projected, g.ints(width, width, width), axis=-1)
        kept = [g.op("Slice", g.input(f"past_{kind}_{i}"), g.ints(0), past, g.ints(2)) for kind in ("key", "value")]
        key, value = (
            g.op("Concat", before, g.heads(new, heads), axis=2) for before, new in zip(kept, now, strict=True)
        )
        g.output(f"new_key_{i}", key)
        g.output(f"new_value_{i}", value)
        scores = g.op("FusedMatMul", g.heads(query, heads), key, domain=MICROSOFT, transB=1)
        seen = g.op("MatMul", g.op("Softmax", g.op("Add", scores, mask), axis=-1), value)
        x = g.op("Add", x, g.linear(g.together(seen, heads), *_projection(w, f"{own}/linear_1")))
        query = g.linear(g.norm(x, w, f"{cross}/layer_norm"), *_projection(w, f"{cross}/linear_0", width))
        heard = g.op("Softmax", g.op("MatMul", g.heads(query, heads), g.input(f"key_{i}")), axis=-1)
        if i in attention_of:
            g.output(f"attention_{i}", heard)
        seen = g.op("MatMul", heard, g.input(f"value_{i}"))
        x = g.op("Add", x, g.linear(g.together(seen, heads), *_projection(w, f"{cross}/linear_2")))
        x = g.feed_forward(x, w, f"{name}/ffn")
    x = g.norm(g.op("Gather", x, rows, axis=1), w, "decoder/layer_norm")
    logits = g.linear(x, w.matrix("decoder/projection/weight"))
    best(g, logits, rules)
    scored = g.op("Softmax", g.op("Slice", logits, g.ints(0), g.input("scored_rows", np.int64), g.ints(1)), axis=-1)
    g.output("likelihood", g.op("Gather", scored, g.input("scored_tokens", np.int64), axis=2))
    return g.model()
