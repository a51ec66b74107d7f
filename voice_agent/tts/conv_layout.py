"""Rewriting one-dimensional convolutions as those of an image of height 1.

onnxruntime has kernels for few channels that take a third less time, but for images only (its NCHWc layout).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..onnx_tools import subgraph
from ..onnx_tools.subgraph import Node, ParsedGraph

_CONVOLUTIONS = ("Conv", "ConvTranspose")
# Attributes of a convolution that have a number for each axis, and the number for the new axis.
_BY_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0, "pads": 0}
_ANY_SHAPE = {"Add", "Mul", "Div", "LeakyRelu", "Tanh", "Unsqueeze"}
_AXIS = "image axis"


def as_image(graph: ParsedGraph, nodes: list[Node]) -> list[Node]:
    """``nodes`` with a further axis of length 1 before the last, also in what they give. Their weights in ``graph`` get
    the axis too. The same ``nodes`` if an operation among them needs the axes as they are."""
    convolutions = [n for n in nodes if n.op in _CONVOLUTIONS]
    known = all(n.inputs[1] in graph.initializers and len(n.ints.get("kernel_shape", ())) == 1 for n in convolutions)
    others = [n for n in nodes if n.op not in _CONVOLUTIONS]
    constants = [graph.initializers[name] for n in others for name in n.inputs if name in graph.initializers]
    if not known or any(n.op not in _ANY_SHAPE for n in others) or not all(map(subgraph.scalar, constants)):
        return nodes
    made = {name for n in nodes for name in n.outputs}
    read = dict.fromkeys(name for n in nodes for name in n.inputs if name not in made)
    graph.initializers[_AXIS] = subgraph.int64_vector(_AXIS, 2)
    renamed = {name: f"{name} as image" for name in read if name not in graph.initializers}
    lifted = [subgraph.new_node("Unsqueeze", (name, _AXIS), (image,)) for name, image in renamed.items()]
    _lift_weights(graph, convolutions)
    return lifted + [_lifted(n, renamed) for n in nodes]


def _lift_weights(graph: ParsedGraph, convolutions: Sequence[Node]) -> None:
    for node in convolutions:
        weights = graph.initializers[node.inputs[1]]
        if len(dims := subgraph.shape(weights)) == 3:  # not lifted yet: another convolution may read the same
            graph.initializers[node.inputs[1]] = subgraph.reshaped(weights, (*dims[:2], 1, dims[2]))


def _lifted(node: Node, renamed: Mapping[str, str]) -> Node:
    ints = dict(node.ints)
    if node.op in _CONVOLUTIONS:
        for name, new in _BY_AXIS.items():
            if name in ints:
                was = ints[name]
                ints[name] = (new, was[0], new, was[1]) if name == "pads" else (new, *was)
    return subgraph.changed(node, tuple(renamed.get(name, name) for name in node.inputs), ints)
