"""A Llama network (https://arxiv.org/abs/2302.13971) with grouped queries as an ONNX model, made from its GGUF file.

Weights stay in blocks of 32 with a step each, and onnxruntime quantizes the activations to such blocks of 8 bits too.
With one step for a whole position, or a whole output, SmolLM2's scores are off by four times as much (docs/turns.md).
"""

from __future__ import annotations

import numpy as np

from ...onnx_tools.writer import MICROSOFT, Graph
from .gguf import Blocks, Gguf

POSITIONS = 512
"""The longest text in tokens. The keys and values of a token take 46 KB."""


class Llama(Graph):
    def linear(self, x: str, weight: Blocks) -> str:
        """``x`` [1, positions, in] times ``weight`` [out, in]."""
        return self.in_blocks(x, weight.numbers, weight.step, weight.zero)


def shape_of_past(file: Gguf) -> tuple[int, int, int, int, int]:
    """The shape of the past: keys and values of each layer, 1, heads, positions (0 so far), width of a head."""
    heads = int(file.fact("llama.attention.head_count"))
    width = int(file.fact("llama.embedding_length")) // heads
    return 2 * int(file.fact("llama.block_count")), 1, int(file.fact("llama.attention.head_count_kv")), 0, width


def llama(file: Gguf) -> bytes:
    """One step: reads tokens after a past and gives the likeliest next tokens.

    Inputs: ``x`` [1, tokens, width] (embeddings), ``past`` (:func:`shape_of_past`), ``before`` [1] (number of tokens
    with those of the past, less one), ``all`` [1] (number of tokens with those of the past), ``top`` [1].
    Outputs: ``logprobs`` and ``ids`` [1, 1, top], the likeliest first; ``read``: the past with these tokens.
    """
    g = Llama("llama")
    states, _, kv_heads, _, width = shape_of_past(file)
    heads = int(file.fact("llama.attention.head_count"))
    inner = int(file.fact("llama.feed_forward_length"))
    epsilon = float(file.fact("llama.attention.layer_norm_rms_epsilon"))
    turns = float(file.fact("llama.rope.freq_base")) ** (-np.arange(0, width, 2) / width)
    angles = np.outer(np.arange(POSITIONS), turns)
    cos, sin = (g.constant(wave(angles).astype(np.float32)) for wave in (np.cos, np.sin))
    x, before, everything = g.input("x"), g.input("before", np.int32), g.input("all", np.int32)
    past = [
        g.op("Squeeze", one, g.ints(0)) for one in g.split("Split", states, g.input("past"), axis=0, num_outputs=states)
    ]
    read = []

    def gain(name: str) -> str:
        return g.constant(file.array(f"{name}.weight"))

    def added(more: str, to: str, name: str) -> tuple[str, str]:
        """The norm of the sum, and the sum."""
        normed, _, _, total = g.split(
            "SkipSimplifiedLayerNormalization", 4, more, to, gain(name), domain=MICROSOFT, epsilon=epsilon
        )
        return normed, total

    normed = g.op("SimplifiedLayerNormalization", x, gain("blk.0.attn_norm"), axis=-1, epsilon=epsilon)
    for i in range(states // 2):
        name = f"blk.{i}"
        projected = g.linear(normed, Blocks.stacked([file.blocks(f"{name}.attn_{part}.weight") for part in "qkv"]))
        seen, *now = g.split(
            "GroupQueryAttention",
            3,
            *(projected, "", "", past[2 * i], past[2 * i + 1], before, everything, cos, sin),
            domain=MICROSOFT,
            num_heads=heads,
            kv_num_heads=kv_heads,
            do_rotary=1,
            rotary_interleaved=1,  # as llama.cpp stores them: the two values of a rotation are neighbours
        )
        read += [g.op("Unsqueeze", one, g.ints(0)) for one in now]
        seen = g.linear(seen, file.blocks(f"{name}.attn_output.weight"))
        normed, x = added(seen, x, f"{name}.ffn_norm")
        both = g.linear(normed, Blocks.stacked([file.blocks(f"{name}.ffn_{part}.weight") for part in ("gate", "up")]))
        gate, up = g.split("Split", 2, both, g.ints(inner, inner), axis=-1)
        gate = g.op("QuickGelu", gate, domain=MICROSOFT, alpha=1.0)  # x * sigmoid(x)
        more = g.linear(g.op("Mul", gate, up), file.blocks(f"{name}.ffn_down.weight"))
        normed, x = added(more, x, "output_norm" if 2 * i + 2 == states else f"blk.{i + 1}.attn_norm")
    last = g.op("Slice", normed, g.ints(-1), g.ints(POSITIONS), g.ints(1))
    chances = g.op("LogSoftmax", g.linear(last, file.blocks("token_embd.weight")), axis=-1)
    top, ids = g.split("TopK", 2, chances, g.input("top", np.int64), axis=-1)
    g.output("logprobs", top)
    g.output("ids", ids, np.int64)
    g.output("read", g.op("Concat", *read, axis=0))
    return g.model()
