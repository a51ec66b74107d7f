"""Graphs that :class:`Graph` writes, read and cut by ``subgraph``, run by onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_agent.onnx_tools import subgraph
from voice_agent.onnx_tools.onnx_session import onnx_session, session_options
from voice_agent.onnx_tools.writer import Graph

X = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
WEIGHTS = np.array([[2.0, 0.0], [1.0, -1.0]], np.float32)


def written() -> bytes:
    """y = relu(x @ WEIGHTS + 1), z = -y."""
    graph = Graph("test")
    product = graph.op("MatMul", graph.input("x"), graph.constant(WEIGHTS))
    y = graph.op("Relu", graph.op("Add", product, graph.scalar(1.0)))
    graph.output("y", y)
    graph.output("z", graph.op("Neg", y))
    return graph.model()


def run(model: bytes, feed: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    outputs: list[NDArray[np.float32]] = onnx_session(model, session_options(1)).run(None, feed)
    return outputs


def test_a_written_graph_computes_what_its_nodes_say() -> None:
    y, z = run(written(), {"x": X})
    assert np.allclose(y, np.maximum(X @ WEIGHTS + 1, 0))
    assert np.allclose(z, -y)


def test_a_graph_in_two_parts_computes_the_same() -> None:
    graph = subgraph.parse(written())
    relu = next(n for n in graph.nodes if n.op == "Relu")
    before = subgraph.ancestors(graph.nodes, set(relu.outputs))
    first = subgraph.extract(graph, [n for n in graph.nodes if id(n) in before], relu.outputs)
    behind = subgraph.descendants(graph.nodes, set(relu.outputs))
    second = subgraph.extract(graph, [n for n in graph.nodes if id(n) in behind], ("y", "z"))
    assert (first.inputs, second.inputs) == (("x",), relu.outputs)
    (middle,) = run(first.model, {"x": X})
    for whole, part in zip(run(written(), {"x": X}), run(second.model, {relu.outputs[0]: middle}), strict=True):
        assert np.array_equal(whole, part)
    assert WEIGHTS.tobytes() in first.model
    assert WEIGHTS.tobytes() not in second.model


def test_a_given_tensor_ends_the_search_for_ancestors() -> None:
    graph = subgraph.parse(written())
    relu = next(n for n in graph.nodes if n.op == "Relu")
    found = subgraph.ancestors(graph.nodes, {"z"}, given=relu.outputs[0])
    assert {n.op for n in graph.nodes if id(n) in found} == {"Neg", "Identity"}


def test_weights_and_attributes_can_be_changed() -> None:
    graph = subgraph.parse(written())
    (name,) = (name for name, tensor in graph.initializers.items() if subgraph.shape(tensor) == [2, 2])
    graph.initializers[name] = subgraph.reshaped(graph.initializers[name], (1, 2, 2))
    assert subgraph.shape(graph.initializers[name]) == [1, 2, 2]
    assert not subgraph.scalar(graph.initializers[name])
    matmul = next(n for n in graph.nodes if n.op == "MatMul")
    model = subgraph.extract(graph, [matmul], matmul.outputs)
    assert np.allclose(run(model.model, {"x": X[None]})[0], X @ WEIGHTS)


def test_equal_small_constants_are_stored_once() -> None:
    graph = Graph("test")
    assert graph.scalar(0.5) == graph.scalar(0.5) != graph.scalar(0.25)


@pytest.mark.parametrize("size", [1, 20, 100])
def test_a_file_cut_short_is_an_error(size: int) -> None:
    with pytest.raises((ValueError, IndexError)):
        subgraph.parse(written()[:size])
