"""Writing an ONNX graph down, a node at a time, without the ``onnx`` package (see :mod:`.protobuf`)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from . import wire as protobuf

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
    body = protobuf.delimited(1, name.encode())
    if isinstance(value, float):
        return body + b"\x15" + struct.pack("<f", value) + protobuf.number(20, 1)
    if isinstance(value, int):
        return body + protobuf.number(3, value) + protobuf.number(20, 2)
    if isinstance(value, str):
        return body + protobuf.delimited(4, value.encode()) + protobuf.number(20, 3)
    return body + b"".join(protobuf.number(8, v) for v in value) + protobuf.number(20, 7)


def _value(name: str, kind: int) -> bytes:
    return protobuf.delimited(1, name.encode()) + protobuf.delimited(2, protobuf.delimited(1, protobuf.number(1, kind)))


class Graph:
    """An ONNX graph that grows a node at a time. Tensors are named by what :meth:`op` returns."""

    def __init__(self, name: str) -> None:
        self._model = name
        self._nodes: list[bytes] = []
        self._weights: list[bytes] = []  # two for each: what stands before the numbers, and the numbers
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
        tensor = b"".join(protobuf.number(1, size) for size in array.shape)
        tensor += protobuf.number(2, _TYPES[array.dtype]) + protobuf.delimited(8, name.encode())
        self._weights += (tensor + protobuf.head(9, len(raw)), raw)
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
                *(protobuf.delimited(1, name.encode()) for name in inputs),
                *(protobuf.delimited(2, name.encode()) for name in outputs),
                protobuf.delimited(4, kind.encode()),
                *(protobuf.delimited(5, _attribute(name, value)) for name, value in attributes.items()),
                protobuf.delimited(7, domain.encode()),
            ]
        )

    def model(self) -> bytes:
        """The whole as the bytes of an ``.onnx`` file. The graph is empty then, so that nothing is in memory twice."""
        body: list[bytes] = [protobuf.delimited(2, self._model.encode())]
        for field, messages in ((1, self._nodes), (11, self._inputs), (12, self._outputs)):
            for message in messages:
                body += (protobuf.head(field, len(message)), message)
        for before, numbers in zip(self._weights[::2], self._weights[1::2], strict=True):
            body += (protobuf.head(5, len(before) + len(numbers)), before, numbers)
        self._weights.clear()
        opsets = (("", _OPSET), (MICROSOFT, 1))
        return b"".join(
            [
                protobuf.number(1, _IR_VERSION),
                *(
                    protobuf.delimited(8, protobuf.delimited(1, name.encode()) + protobuf.number(2, version))
                    for name, version in opsets
                ),
                protobuf.head(7, sum(map(len, body))),
                *body,
            ]
        )
