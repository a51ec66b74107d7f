"""Writing an ONNX graph, one node at a time (protobuf by :mod:`.wire`)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from . import wire

MICROSOFT = "com.microsoft"
"""The domain of onnxruntime's own operators."""
_IR_VERSION, _OPSET = 9, 19
_IN_8_BITS = 4  # MatMulNBits' accuracy_level: activations too
_TYPES = {
    np.dtype(np.float32): 1,
    np.dtype(np.uint8): 2,
    np.dtype(np.int8): 3,
    np.dtype(np.int32): 6,
    np.dtype(np.int64): 7,
}  # TensorProto.DataType

Attribute = int | float | str | Sequence[int]


def _attribute(name: str, value: Attribute) -> bytes:
    body = wire.delimited(1, name.encode())
    if isinstance(value, float):
        return body + b"\x15" + struct.pack("<f", value) + wire.number(20, 1)
    if isinstance(value, int):
        return body + wire.number(3, value) + wire.number(20, 2)
    if isinstance(value, str):
        return body + wire.delimited(4, value.encode()) + wire.number(20, 3)
    return body + b"".join(wire.number(8, v) for v in value) + wire.number(20, 7)


def _value(name: str, kind: int) -> bytes:
    return wire.delimited(1, name.encode()) + wire.delimited(2, wire.delimited(1, wire.number(1, kind)))


class Graph:
    """An ONNX graph that grows by one node at a time. :meth:`op` returns the name of the tensor that it makes."""

    def __init__(self, name: str) -> None:
        self._model = name
        self._nodes: list[bytes] = []
        self._weights: list[bytes] = []  # two for each weight: the bytes before its numbers, and its numbers
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._names = 0

    def _name(self) -> str:
        self._names += 1
        return f"t{self._names}"

    def input(self, name: str, kind: type[np.generic] = np.float32) -> str:
        self._inputs.append(_value(name, _TYPES[np.dtype(kind)]))
        return name

    def output(self, name: str, tensor: str, kind: type[np.generic] = np.float32) -> None:
        self._nodes.append(self._node("Identity", (tensor,), (name,), "", {}))
        self._outputs.append(_value(name, _TYPES[np.dtype(kind)]))

    def constant(self, array: NDArray[np.generic]) -> str:
        """A weight, or a small constant (the same one is stored once)."""
        raw = np.ascontiguousarray(array).tobytes()
        key = (str(array.dtype), array.shape, raw if array.size < 16 else b"")
        if array.size < 16 and key in self._constants:
            return self._constants[key]
        name = self._constants[key] = self._name()
        tensor = b"".join(wire.number(1, size) for size in array.shape)
        tensor += wire.number(2, _TYPES[array.dtype]) + wire.delimited(8, name.encode())
        self._weights += (tensor + wire.head(9, len(raw)), raw)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Attribute) -> str:
        return self.split(kind, 1, *inputs, domain=domain, **attributes)[0]

    def split(self, kind: str, outputs: int, *inputs: str, domain: str = "", **attributes: Attribute) -> list[str]:
        """A node with several outputs."""
        names = [self._name() for _ in range(outputs)]
        self._nodes.append(self._node(kind, inputs, names, domain, attributes))
        return names

    def in_blocks(
        self,
        x: str,
        numbers: NDArray[np.uint8],
        step: NDArray[np.float32],
        zero: NDArray[np.uint8] | None = None,
        bias: NDArray[np.float32] | None = None,
    ) -> str:
        """``x`` [1, positions, in] times a matrix in 8 bits, and ``bias`` [out]. ``numbers`` [out, blocks, in a block];
        ``step`` and ``zero`` (128 if None) [out, blocks]."""
        outputs, blocks, size = numbers.shape
        optional = [self.constant(part) if part is not None else "" for part in (zero, None, bias)]
        return self.op(
            "MatMulNBits",
            *(x, self.constant(numbers), self.constant(step), *optional),
            domain=MICROSOFT,
            K=blocks * size,
            N=outputs,
            bits=8,
            block_size=size,
            accuracy_level=_IN_8_BITS,
        )

    @staticmethod
    def _node(
        kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str, attributes: Mapping[str, Attribute]
    ) -> bytes:
        return b"".join(
            [
                *(wire.delimited(1, name.encode()) for name in inputs),
                *(wire.delimited(2, name.encode()) for name in outputs),
                wire.delimited(4, kind.encode()),
                *(wire.delimited(5, _attribute(name, value)) for name, value in attributes.items()),
                wire.delimited(7, domain.encode()),
            ]
        )

    def model(self) -> bytes:
        """The bytes of an ``.onnx`` file. The graph's weights are dropped with it, to spare memory."""
        body: list[bytes] = [wire.delimited(2, self._model.encode())]
        for field, messages in ((1, self._nodes), (11, self._inputs), (12, self._outputs)):
            for message in messages:
                body += (wire.head(field, len(message)), message)
        for before, numbers in zip(self._weights[::2], self._weights[1::2], strict=True):
            body += (wire.head(5, len(before) + len(numbers)), before, numbers)
        self._weights.clear()
        opsets = (("", _OPSET), (MICROSOFT, 1))
        return b"".join(
            [
                wire.number(1, _IR_VERSION),
                *(
                    wire.delimited(8, wire.delimited(1, name.encode()) + wire.number(2, version))
                    for name, version in opsets
                ),
                wire.head(7, sum(map(len, body))),
                *body,
            ]
        )
