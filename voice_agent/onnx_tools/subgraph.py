"""Reading an ONNX model, and writing a part of its graph as a model of its own.

Only names, integer attributes and the graph's structure are decoded. Nodes and weights stay the bytes of the file
(:mod:`.wire`; field numbers from onnx.proto3), copied once, into the part. To read and cut 60 MB takes 0.15 s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import wire

# Field numbers of onnx.proto3.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 2, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTS, _ATTRIBUTE_TYPE = 1, 6, 8, 20
_INTS = 7  # AttributeProto.AttributeType
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_INT64, _TENSOR_NAME, _VALUE_NAME = 1, 2, 7, 8, 1
_INT64 = 7  # TensorProto.DataType


@dataclass(frozen=True, slots=True)
class Node:
    """An operation. ``inputs`` includes what the branches of an ``If`` read; ``ints``: its attributes of integers."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ints: dict[str, tuple[int, ...]]
    raw: memoryview


@dataclass(slots=True)
class ParsedGraph:
    """A model: its nodes in topological order, its weights and the descriptions of its tensors by name."""

    head: list[memoryview] = field(default_factory=list)
    """Fields of the model other than the graph, as they were: version, opset, metadata."""
    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, memoryview] = field(default_factory=dict)
    inputs: dict[str, memoryview] = field(default_factory=dict)
    outputs: dict[str, memoryview] = field(default_factory=dict)
    infos: dict[str, memoryview] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submodel:
    """``model``: the bytes of an ``.onnx`` file. Its inputs are all that its nodes read and do not make."""

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def parse(model: bytes) -> ParsedGraph:
    """Raises IndexError, ValueError or UnicodeDecodeError for what is no ONNX file, or is cut short."""
    graph = ParsedGraph()
    for number, raw, value in wire.fields(memoryview(model)):
        if number == _MODEL_GRAPH:
            _parse_graph(graph, value)
        else:
            graph.head.append(raw)
    return graph


def extract(graph: ParsedGraph, nodes: Sequence[Node], outputs: tuple[str, ...]) -> Submodel:
    """``nodes`` and the weights that they read as a model that gives ``outputs``."""
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
        body += (wire.head(number, len(value)), value)
    # The weights are views of the file until this one join: at load they are in memory twice, not four times.
    return Submodel(b"".join([*graph.head, wire.head(_MODEL_GRAPH, sum(map(len, body))), *body]), inputs, outputs)


def descendants(nodes: Sequence[Node], names: set[str]) -> set[int]:
    """The ids (``id()``) of the nodes that depend on the tensors ``names``."""
    reached, found = set(names), set[int]()
    for node in nodes:
        if not reached.isdisjoint(node.inputs):
            reached.update(node.outputs)
            found.add(id(node))
    return found


def ancestors(nodes: Sequence[Node], names: set[str], given: str = "") -> set[int]:
    """The ids (``id()``) of the nodes that the tensors ``names`` depend on, where the tensor ``given`` is an input."""
    needed, found = set(names), set[int]()
    for node in reversed(nodes):
        if given not in node.outputs and not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            found.add(id(node))
    return found


def shape(tensor: memoryview) -> list[int]:
    """The dimensions of an initializer."""
    return [size for n, raw, value in wire.fields(tensor) if n == _TENSOR_DIMS for size in _ints(raw, value)]


def reshaped(tensor: memoryview, dims: Iterable[int]) -> memoryview:
    """The initializer ``tensor`` with the dimensions ``dims``."""
    rest = b"".join(raw for number, raw, _ in wire.fields(tensor) if number != _TENSOR_DIMS)
    return memoryview(b"".join(wire.number(_TENSOR_DIMS, size) for size in dims) + rest)


def int64_vector(name: str, value: int) -> memoryview:
    """An initializer of shape (1,)."""
    return memoryview(
        wire.number(_TENSOR_DIMS, 1)
        + wire.number(_TENSOR_TYPE, _INT64)
        + wire.number(_TENSOR_INT64, value)
        + wire.delimited(_TENSOR_NAME, name.encode())
    )


def new_node(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Node:
    """A node without attributes."""
    fields = [(_NODE_INPUT, name) for name in inputs] + [(_NODE_OUTPUT, name) for name in outputs] + [(_NODE_OP, op)]
    body = b"".join(wire.delimited(number, text.encode()) for number, text in fields)
    return Node(op, inputs, outputs, {}, memoryview(body))


def changed(node: Node, inputs: tuple[str, ...], ints: Mapping[str, tuple[int, ...]]) -> Node:
    """``node`` with other inputs and other attributes of integers (all of them: ``ints``)."""
    body = [wire.delimited(_NODE_INPUT, name.encode()) for name in inputs]
    for number, raw, value in wire.fields(node.raw):
        replaced = number == _NODE_ATTRIBUTE and wire.text(value, _ATTRIBUTE_NAME) in ints
        if number != _NODE_INPUT and not replaced:
            body.append(bytes(raw))
    body += [wire.delimited(_NODE_ATTRIBUTE, _ints_attribute(*item)) for item in ints.items()]
    return Node(node.op, inputs, node.outputs, dict(ints), memoryview(b"".join(body)))


def scalar(tensor: memoryview) -> bool:
    """Whether an initializer has one element."""
    return math.prod(shape(tensor)) == 1


def _ints_attribute(name: str, values: Iterable[int]) -> bytes:
    return (
        wire.delimited(_ATTRIBUTE_NAME, name.encode())
        + b"".join(wire.number(_ATTRIBUTE_INTS, value) for value in values)
        + wire.number(_ATTRIBUTE_TYPE, _INTS)
    )


def _ints(raw: memoryview, value: memoryview) -> Iterable[int]:
    """The numbers of a repeated field, packed or not."""
    return wire.varints(value) if raw[0] & 7 == 2 else wire.varints(raw[1:])


def _value_info(graph: ParsedGraph, name: str) -> bytes | memoryview:
    for known in (graph.inputs, graph.outputs, graph.infos):
        if name in known:
            return known[name]
    # type { tensor_type { elem_type: FLOAT } }, no shape. No other type crosses a cut in the graphs that are cut here.
    return wire.delimited(_VALUE_NAME, name.encode()) + wire.delimited(2, wire.delimited(1, b"\x08\x01"))


def _parse_graph(graph: ParsedGraph, body: memoryview) -> None:
    tensors = {_GRAPH_INPUT: graph.inputs, _GRAPH_OUTPUT: graph.outputs, _GRAPH_VALUE_INFO: graph.infos}
    for number, _, value in wire.fields(body):
        if number == _GRAPH_NODE:
            graph.nodes.append(_parse_node(value))
        elif number == _GRAPH_INITIALIZER:
            graph.initializers[wire.text(value, _TENSOR_NAME)] = value
        elif number in tensors:
            tensors[number][wire.text(value, _VALUE_NAME)] = value


def _parse_node(body: memoryview) -> Node:
    op, inputs, outputs, ints = "", list[str](), list[str](), dict[str, tuple[int, ...]]()
    for number, _, value in wire.fields(body):
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
    return Node(op, tuple(inputs), tuple(outputs), ints, body)


def _parse_attribute(body: memoryview) -> tuple[str, tuple[int, ...], Iterable[str]]:
    name, numbers, captured = "", list[int](), list[str]()
    for number, raw, value in wire.fields(body):
        if number == _ATTRIBUTE_NAME:
            name = str(value, "utf-8")
        elif number == _ATTRIBUTE_INTS:
            numbers.extend(_ints(raw, value))
        elif number == _ATTRIBUTE_GRAPH:
            # A branch of an If may read any tensor of the graph around it; such a tensor is an input of the node.
            inner = ParsedGraph()
            _parse_graph(inner, value)
            made = {out for n in inner.nodes for out in n.outputs} | inner.initializers.keys() | inner.inputs.keys()
            captured.extend(read for n in inner.nodes for read in n.inputs if read not in made)
    return name, tuple(numbers), captured
