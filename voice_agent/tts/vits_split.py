"""Cutting a Piper voice's ONNX graph into three: text, flow, decoder.

Piper exports VITS (https://arxiv.org/abs/2106.06103) as one graph, which gives the first sample only when the last is
done. Two places in it are narrow: ``z_p``, the noisy prior of the whole sentence (one column a frame, 256 samples), and
``z``, what the flow makes of it and the HiFi-GAN decoder turns into samples. Everything after ``z_p`` is convolutions
of a bounded reach along time, so it can run over pieces that overlap by that reach and still give the same samples.

The cut needs to read node names and copy bytes, no more, so it is done on the protobuf wire format itself
(:mod:`voice_agent.onnx_tools.wire`, field numbers from onnx.proto3): the ``onnx`` package's extractor needs a file.
It takes ~0.1 s at load, and nothing needs a cache.

onnxruntime has kernels for few channels that are a third faster, for images only (its NCHWc layout). So the decoder's
convolutions are written as those of an image of height 1 (:func:`_as_image`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import ModelError
from ..onnx_tools import wire as protobuf

# Field numbers of onnx.proto3.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 2, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTS, _ATTRIBUTE_TYPE = 1, 6, 8, 20
_INTS = 7  # AttributeProto.AttributeType
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_INT64, _TENSOR_NAME, _VALUE_NAME = 1, 2, 7, 8, 1
_INT64 = 7  # TensorProto.DataType
# Which attributes of a convolution have numbers for each axis, and what stands there for the new one.
_BY_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0, "pads": 0}
_ANY_SHAPE = {"Add", "Mul", "Div", "LeakyRelu", "Tanh", "Unsqueeze"}


@dataclass(frozen=True, slots=True)
class Part:
    """One third of a voice, a whole ONNX model. Tensors are float32 ``[1, channels, frames]`` unless said otherwise."""

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reach_frames: int = 0
    """How many input frames on either side can change an output frame. 0 for the text part, which runs whole."""
    upsampling: int = 1
    """Output steps an input frame (the decoder: samples a frame, 256)."""


def without_model(part: Part) -> Part:
    """``part`` for whoever has loaded its model, and needs the bytes no more."""
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
    """Name of the text part's output that holds the frames of each phoneme, ``[1, 1, phonemes]``; None: not found."""


@dataclass(frozen=True, slots=True)
class _Node:
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ints: dict[str, tuple[int, ...]]
    raw: memoryview


@dataclass(slots=True)
class _Graph:
    head: list[memoryview] = field(default_factory=list)
    """Fields of the model other than the graph, as they stood: version, opset, metadata."""
    nodes: list[_Node] = field(default_factory=list)
    initializers: dict[str, memoryview] = field(default_factory=dict)
    inputs: dict[str, memoryview] = field(default_factory=dict)
    outputs: dict[str, memoryview] = field(default_factory=dict)
    infos: dict[str, memoryview] = field(default_factory=dict)


def split(model: bytes) -> Parts:
    """Cut the bytes of a Piper ``.onnx`` file in three.

    Raises ModelError if they are not an ONNX file, or not a graph as Piper exports it.
    """
    try:
        graph = _parse(memoryview(model))
    except (IndexError, ValueError, UnicodeDecodeError) as e:
        raise ModelError("the voice's model is no ONNX file (or is cut short): download the .onnx again") from e
    if not graph.nodes or len(graph.outputs) < 1:
        raise ModelError("the voice's model holds no graph: download the .onnx again")
    prior, latent = _prior(graph), _latent(graph)
    audio = next(iter(graph.outputs))
    after_prior = _descendants(graph.nodes, {prior})
    after_latent = _descendants(graph.nodes, {latent})
    wanted = _ancestors(graph.nodes, {audio})
    decoder = [n for n in graph.nodes if id(n) in after_latent and id(n) in wanted]
    wanted = _ancestors(graph.nodes, {latent})
    flow = [n for n in graph.nodes if id(n) in after_prior and id(n) in wanted]
    if not flow or not decoder:
        raise _unknown("no path from z_p over z to the samples")
    decoder_part = _part(graph, _as_image(graph, decoder), (audio,))
    flow_part = _part(graph, flow, (latent,))
    # What the later parts ask for and the flow does not make comes from the text part: z_p, the mask, the speaker.
    needed = dict.fromkeys((prior, *flow_part.inputs, *decoder_part.inputs))
    outputs = tuple(name for name in needed if name != latent)
    before_prior = _ancestors(graph.nodes, {prior})
    durations = next((n.outputs[0] for n in graph.nodes if n.op == "Ceil" and id(n) in before_prior), None)
    if durations is not None and durations not in outputs:
        outputs = (*outputs, durations)
    keep = _ancestors(graph.nodes, set(outputs))
    text_part = _part(graph, [n for n in graph.nodes if id(n) in keep], outputs)
    return Parts(text_part, flow_part, decoder_part, prior, latent, durations)


def halves(text: Part) -> tuple[Part, Part]:
    """The text part in two: the encoder of phonemes, a column each, and what makes durations and ``z_p`` of it.

    Both read the lengths; the second also the first's output. Raises ModelError as :func:`split`.
    """
    graph = _parse(memoryview(text.model))
    reads = next((n.inputs[0] for n in graph.nodes if n.op == "Conv" and "enc_p.proj.weight" in n.inputs), None)
    if reads is None:
        raise _unknown("no convolution enc_p.proj")
    before = _ancestors(graph.nodes, {reads})
    encoder = [n for n in graph.nodes if id(n) in before]
    # What does not come out of the encoder, such as the mask, is made again: it is small.
    behind = _ancestors(graph.nodes, set(text.outputs), given=reads)
    after = [n for n in graph.nodes if id(n) in behind]
    return _part(graph, encoder, (reads,)), _part(graph, after, text.outputs)


def _unknown(what: str) -> ModelError:
    return ModelError(f"the voice's graph is not one that Piper exports ({what}): use a voice made by Piper's export")


def _prior(graph: _Graph) -> str:
    """The name of z_p = m_p + noise * exp(logs_p) * noise_scale: the first sum behind the last source of noise."""
    consumers: dict[str, list[_Node]] = {}
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


def _latent(graph: _Graph) -> str:
    """The name of z: what the decoder's first convolution reads."""
    for node in graph.nodes:
        if node.op == "Conv" and "dec.conv_pre.weight" in node.inputs:
            return node.inputs[0]
    raise _unknown("no convolution dec.conv_pre")


def _descendants(nodes: list[_Node], names: set[str]) -> set[int]:
    """The ids of the nodes that depend on ``names``. Nodes stand in topological order, as ONNX demands."""
    reached, found = set(names), set[int]()
    for node in nodes:
        if not reached.isdisjoint(node.inputs):
            reached.update(node.outputs)
            found.add(id(node))
    return found


def _ancestors(nodes: list[_Node], names: set[str], given: str = "") -> set[int]:
    """The ids of the nodes that ``names`` depend on, where the tensor ``given`` is there already."""
    needed, found = set(names), set[int]()
    for node in reversed(nodes):
        if given not in node.outputs and not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            found.add(id(node))
    return found


def _part(graph: _Graph, nodes: list[_Node], outputs: tuple[str, ...]) -> Part:
    made = {name for n in nodes for name in n.outputs}
    read = list(dict.fromkeys(name for n in nodes for name in n.inputs if name and name not in made))
    inputs = tuple(name for name in read if name not in graph.initializers)
    fields: list[tuple[int, bytes | memoryview]] = [(_GRAPH_NAME, b"part")]
    fields += [(_GRAPH_NODE, node.raw) for node in nodes]
    fields += [(_GRAPH_INITIALIZER, graph.initializers[name]) for name in read if name in graph.initializers]
    fields += [(_GRAPH_INPUT, _value_info(graph, name)) for name in inputs]
    fields += [(_GRAPH_OUTPUT, _value_info(graph, name)) for name in outputs]
    body: list[bytes | memoryview] = []
    for number, value in fields:
        body += (protobuf.head(number, len(value)), value)
    reach_frames, upsampling = _reach(nodes)
    # The weights are views of the file until this one join: at load they are in memory twice, not four times.
    model = b"".join([*graph.head, protobuf.head(_MODEL_GRAPH, sum(map(len, body))), *body])
    return Part(model, inputs, outputs, reach_frames, upsampling)


def _as_image(graph: _Graph, nodes: list[_Node]) -> list[_Node]:
    """The same with a further axis of length 1 before the last, also in the result; ``nodes`` if anything in them needs
    the axes as they are. The weights in ``graph`` get the axis too."""
    convolutions = [n for n in nodes if n.op in ("Conv", "ConvTranspose")]
    known = all(n.inputs[1] in graph.initializers and len(n.ints.get("kernel_shape", ())) == 1 for n in convolutions)
    others = [n for n in nodes if n not in convolutions]
    constants = [graph.initializers[name] for n in others for name in n.inputs if name in graph.initializers]
    if not known or any(n.op not in _ANY_SHAPE for n in others) or any(math.prod(_shape(c)) != 1 for c in constants):
        return nodes
    made = {name for n in nodes for name in n.outputs}
    read = dict.fromkeys(name for n in nodes for name in n.inputs if name not in made)
    axis = "image axis"
    graph.initializers[axis] = memoryview(
        protobuf.number(_TENSOR_DIMS, 1)
        + protobuf.number(_TENSOR_TYPE, _INT64)
        + protobuf.number(_TENSOR_INT64, 2)
        + protobuf.delimited(_TENSOR_NAME, axis.encode())
    )
    flat = {name: f"{name} as image" for name in read if name not in graph.initializers}
    lifted = [_node("Unsqueeze", (name, axis), (image,)) for name, image in flat.items()]
    for n in convolutions:
        weights = graph.initializers[n.inputs[1]]
        if len(shape := _shape(weights)) == 3:  # not yet: another one may read the same
            rest = b"".join(raw for number, raw, _ in protobuf.fields(weights) if number != _TENSOR_DIMS)
            dims = b"".join(protobuf.number(_TENSOR_DIMS, size) for size in (*shape[:2], 1, shape[2]))
            graph.initializers[n.inputs[1]] = memoryview(dims + rest)
    return lifted + [_imaged(n, flat) for n in nodes]


def _imaged(node: _Node, flat: dict[str, str]) -> _Node:
    inputs = tuple(flat.get(name, name) for name in node.inputs)
    ints = dict(node.ints)
    if node.op in ("Conv", "ConvTranspose"):
        for name, new in _BY_AXIS.items():
            if name in ints:
                was = ints[name]
                ints[name] = (new, was[0], new, was[1]) if name == "pads" else (new, *was)
    body = [protobuf.delimited(_NODE_INPUT, name.encode()) for name in inputs]
    for number, raw, value in protobuf.fields(node.raw):
        changed = number == _NODE_ATTRIBUTE and protobuf.text(value, _ATTRIBUTE_NAME) in ints
        if number != _NODE_INPUT and not changed:
            body.append(bytes(raw))
    body += [protobuf.delimited(_NODE_ATTRIBUTE, _ints_attribute(*item)) for item in ints.items()]
    return _Node(node.op, inputs, node.outputs, ints, memoryview(b"".join(body)))


def _node(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> _Node:
    fields = [(_NODE_INPUT, name) for name in inputs] + [(_NODE_OUTPUT, name) for name in outputs] + [(_NODE_OP, op)]
    body = b"".join(protobuf.delimited(number, text.encode()) for number, text in fields)
    return _Node(op, inputs, outputs, {}, memoryview(body))


def _ints_attribute(name: str, values: Iterable[int]) -> bytes:
    return (
        protobuf.delimited(_ATTRIBUTE_NAME, name.encode())
        + b"".join(protobuf.number(_ATTRIBUTE_INTS, value) for value in values)
        + protobuf.number(_ATTRIBUTE_TYPE, _INTS)
    )


def _shape(tensor: memoryview) -> list[int]:
    return [size for n, raw, value in protobuf.fields(tensor) if n == _TENSOR_DIMS for size in _ints(raw, value)]


def _ints(raw: memoryview, value: memoryview) -> Iterable[int]:
    """The numbers of a repeated field, packed or not."""
    return protobuf.varints(value) if raw[0] & 7 == 2 else protobuf.varints(raw[1:])


def _value_info(graph: _Graph, name: str) -> bytes | memoryview:
    for known in (graph.inputs, graph.outputs, graph.infos):
        if name in known:
            return known[name]
    # type { tensor_type { elem_type: FLOAT } }, no shape: every tensor that crosses a cut is a float in Piper's graph
    return protobuf.delimited(_VALUE_NAME, name.encode()) + protobuf.delimited(2, protobuf.delimited(1, b"\x08\x01"))


def _reach(nodes: list[_Node]) -> tuple[int, int]:
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


def _parse(model: memoryview) -> _Graph:
    graph = _Graph()
    for number, raw, value in protobuf.fields(model):
        if number == _MODEL_GRAPH:
            _parse_graph(graph, value)
        else:
            graph.head.append(raw)
    return graph


def _parse_graph(graph: _Graph, body: memoryview) -> None:
    for number, _, value in protobuf.fields(body):
        match number:
            case n if n == _GRAPH_NODE:
                graph.nodes.append(_parse_node(value))
            case n if n == _GRAPH_INITIALIZER:
                graph.initializers[protobuf.text(value, _TENSOR_NAME)] = value
            case n if n == _GRAPH_INPUT:
                graph.inputs[protobuf.text(value, _VALUE_NAME)] = value
            case n if n == _GRAPH_OUTPUT:
                graph.outputs[protobuf.text(value, _VALUE_NAME)] = value
            case n if n == _GRAPH_VALUE_INFO:
                graph.infos[protobuf.text(value, _VALUE_NAME)] = value


def _parse_node(body: memoryview) -> _Node:
    op, inputs, outputs, ints = "", list[str](), list[str](), dict[str, tuple[int, ...]]()
    for number, _, value in protobuf.fields(body):
        if number == _NODE_INPUT:
            inputs.append(str(value, "utf-8"))
        elif number == _NODE_OUTPUT:
            outputs.append(str(value, "utf-8"))
        elif number == _NODE_OP:
            op = str(value, "utf-8")
        elif number == _NODE_ATTRIBUTE:
            name, numbers, captured = _parse_attribute(value)
            inputs.extend(captured)
            if numbers:
                ints[name] = numbers
    return _Node(op, tuple(inputs), tuple(outputs), ints, body)


def _parse_attribute(body: memoryview) -> tuple[str, tuple[int, ...], Iterable[str]]:
    name, numbers, captured = "", list[int](), list[str]()
    for number, raw, value in protobuf.fields(body):
        if number == _ATTRIBUTE_NAME:
            name = str(value, "utf-8")
        elif number == _ATTRIBUTE_INTS:
            numbers.extend(_ints(raw, value))
        elif number == _ATTRIBUTE_GRAPH:
            # The branch of an If reads tensors of the graph around it: they are inputs of the node in all but name.
            inner = _Graph()
            _parse_graph(inner, value)
            made = {out for n in inner.nodes for out in n.outputs} | inner.initializers.keys() | inner.inputs.keys()
            captured.extend(read for n in inner.nodes for read in n.inputs if read not in made)
    return name, tuple(numbers), captured
