"""Splitting a Piper voice's ONNX graph into three models: text encoder, flow and decoder.

Piper exports VITS (https://arxiv.org/abs/2106.06103) as one graph, which gives the first sample only when the last is
computed. Two tensors divide it: ``z_p``, the noisy prior of the whole sentence (one column a frame, 256 samples), and
``z``, which the flow makes of it and the HiFi-GAN decoder turns into samples. After ``z_p`` there are only convolutions
of a bounded receptive field, so they can run over windows that overlap by it and still give the same samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ModelError
from ..onnx_tools import subgraph
from ..onnx_tools.subgraph import Node, ParsedGraph, ancestors, descendants
from .conv_layout import as_image


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a voice: a whole ONNX model. Tensors are float32 ``[1, channels, frames]`` unless said otherwise."""

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reach_frames: int = 0
    """How many input frames on either side can change an output frame. 0 for the text encoder, which runs whole."""
    upsampling: int = 1
    """Output steps an input frame (the decoder: samples a frame, 256)."""


def without_model(part: Part) -> Part:
    """``part`` without the bytes of its model: they are not needed once it is loaded."""
    return dataclasses.replace(part, model=b"")


@dataclass(frozen=True, slots=True)
class Parts:
    """A voice in three: ``text`` gives ``z_p``, ``flow`` turns it into ``z``, ``decoder`` turns that into samples."""

    text: Part
    flow: Part
    decoder: Part
    prior: str
    """Name of the tensor ``z_p``."""
    latent: str
    """Name of the tensor ``z``."""
    durations: str | None = None
    """Name of the text encoder's output with the frames of each phoneme, ``[1, 1, phonemes]``; None: not found."""


def split(model: bytes) -> Parts:
    """Split the bytes of a Piper ``.onnx`` file in three.

    Raises ModelError if they are not an ONNX file, or not a graph as Piper exports it.
    """
    try:
        graph = subgraph.parse(model)
    except (IndexError, ValueError) as e:
        raise ModelError("the voice's model is no ONNX file (or is cut short): download the .onnx again") from e
    if not graph.nodes or not graph.outputs:
        raise ModelError("the voice's model holds no graph: download the .onnx again")
    prior, latent = _prior(graph), _latent(graph)
    audio = next(iter(graph.outputs))
    after_prior = descendants(graph.nodes, {prior})
    after_latent = descendants(graph.nodes, {latent})
    needed = ancestors(graph.nodes, {audio})
    decoder = [n for n in graph.nodes if id(n) in after_latent and id(n) in needed]
    needed = ancestors(graph.nodes, {latent})
    flow = [n for n in graph.nodes if id(n) in after_prior and id(n) in needed]
    if not flow or not decoder:
        raise _unknown("no path from z_p over z to the samples")
    decoder_part = _part(graph, as_image(graph, decoder), (audio,))
    flow_part = _part(graph, flow, (latent,))
    # What the other parts read and the flow does not give comes from the text encoder: z_p, the mask, the speaker.
    read = dict.fromkeys((prior, *flow_part.inputs, *decoder_part.inputs))
    outputs = tuple(name for name in read if name != latent)
    before_prior = ancestors(graph.nodes, {prior})
    durations = next((n.outputs[0] for n in graph.nodes if n.op == "Ceil" and id(n) in before_prior), None)
    if durations is not None and durations not in outputs:
        outputs = (*outputs, durations)
    keep = ancestors(graph.nodes, set(outputs))
    text_part = _part(graph, [n for n in graph.nodes if id(n) in keep], outputs)
    return Parts(text_part, flow_part, decoder_part, prior, latent, durations)


def split_text_encoder(text: Part) -> tuple[Part, Part]:
    """The text encoder in two: the encoder of phonemes, a column each, and what makes durations and ``z_p`` of it.

    Both read the lengths; the second also the first's output. Raises ModelError as :func:`split`.
    """
    graph = subgraph.parse(text.model)
    reads = next((n.inputs[0] for n in graph.nodes if n.op == "Conv" and "enc_p.proj.weight" in n.inputs), None)
    if reads is None:
        raise _unknown("no convolution enc_p.proj")
    before = ancestors(graph.nodes, {reads})
    encoder = [n for n in graph.nodes if id(n) in before]
    # What the encoder does not give, such as the mask, is computed again: it is small.
    behind = ancestors(graph.nodes, set(text.outputs), given=reads)
    after = [n for n in graph.nodes if id(n) in behind]
    return _part(graph, encoder, (reads,)), _part(graph, after, text.outputs)


def _unknown(what: str) -> ModelError:
    return ModelError(f"the voice's graph is not one that Piper exports ({what}): use a voice made by Piper's export")


def _prior(graph: ParsedGraph) -> str:
    """The name of z_p = m_p + noise * exp(logs_p) * noise_scale: the first sum behind the last source of noise."""
    consumers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            consumers.setdefault(name, []).append(node)
    noise = [n for n in graph.nodes if n.op.startswith("RandomNormal")]
    if not noise:
        raise _unknown("no source of noise")
    name = noise[-1].outputs[0]
    while len(consumers.get(name, ())) == 1:
        node = consumers[name][0]
        name = node.outputs[0]
        if node.op == "Add":
            return name
    raise _unknown("the noise is not added to a prior")


def _latent(graph: ParsedGraph) -> str:
    """The name of z: what the decoder's first convolution reads."""
    for node in graph.nodes:
        if node.op == "Conv" and "dec.conv_pre.weight" in node.inputs:
            return node.inputs[0]
    raise _unknown("no convolution dec.conv_pre")


def _part(graph: ParsedGraph, nodes: Sequence[Node], outputs: tuple[str, ...]) -> Part:
    cut = subgraph.extract(graph, nodes, outputs)
    return Part(cut.model, cut.inputs, cut.outputs, *_reach(nodes))


def _reach(nodes: Sequence[Node]) -> tuple[int, int]:
    """(frames on either side that an output depends on, output steps a frame), from the convolutions in ``nodes``.

    A convolution of kernel k and dilation d reaches d * (k - 1) / 2 steps; a transposed one of stride s reaches
    k / (2 s) of its input's steps and makes a step s times shorter. Branches that meet keep the larger reach.
    """
    reach: dict[str, float] = {}
    rate: dict[str, int] = {}
    for node in nodes:
        steps = max((reach.get(name, 0.0) for name in node.inputs), default=0.0)
        here = max((rate.get(name, 1) for name in node.inputs), default=1)
        kernel = node.ints.get("kernel_shape", (1,))[-1]
        if node.op == "Conv":
            steps += node.ints.get("dilations", (1,))[-1] * (kernel - 1) / 2 / here
        elif node.op == "ConvTranspose":
            stride = node.ints.get("strides", (1,))[-1]
            steps += math.ceil(kernel / stride / 2) / here
            here *= stride
        for name in node.outputs:
            reach[name], rate[name] = steps, here
    last = nodes[-1].outputs[0] if nodes else ""
    return math.ceil(reach.get(last, 0.0)), rate.get(last, 1)
