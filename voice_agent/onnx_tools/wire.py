"""Reading and writing protobuf's wire format (https://protobuf.dev/programming-guides/encoding), as far as ONNX needs.

The ``onnx`` package was measured in its place and not taken (docs/architecture.md): to load the three models took 0.5 s
more CPU time, and it takes 27 MB on disk.
"""

from __future__ import annotations

from collections.abc import Iterator

_FIXED_BYTES = {1: 8, 5: 4}

Bytes = bytes | memoryview


def fields(body: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """(field number, whole field, its content) for each field of a message. Raises ValueError or IndexError."""
    at = 0
    while at < len(body):
        start = at
        tag, at = _varint(body, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(body, at)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        elif kind == 0:
            size = _varint(body, at)[1] - at
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(body):
            raise ValueError("cut short")
        yield tag >> 3, body[start : at + size], body[at : at + size]
        at += size


def varints(body: memoryview) -> Iterator[int]:
    """The numbers of a packed field."""
    at = 0
    while at < len(body):
        value, at = _varint(body, at)
        yield value


def text(body: memoryview, wanted: int) -> str:
    """The first field ``wanted`` as a string; "" if there is none."""
    return next((str(value, "utf-8") for number, _, value in fields(body) if number == wanted), "")


def head(number: int, size: int) -> bytes:
    """The bytes before ``size`` bytes of field ``number``."""
    return encode(number << 3 | 2) + encode(size)


def delimited(number: int, value: Bytes) -> bytes:
    """Field ``number`` with bytes: a string, or a message."""
    return head(number, len(value)) + value


def number(field: int, value: int) -> bytes:
    """Field ``field`` with a whole number."""
    return encode(field << 3) + encode(value)


def encode(value: int) -> bytes:
    """A varint; negative numbers take ten bytes, as int64 does."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(body: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
