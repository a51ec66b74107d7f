"""Reads GGUF, llama.cpp's model file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), memory-mapped.

The ``gguf`` package (0.19) is not used: to open SmolLM2's file takes it 4.2 to 6.5 s instead of 0.12 to 0.20 s, and 178
MB of memory instead of 46 MB; and it dequantizes to float32 where 8 bits are needed (measured, docs/architecture.md).
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError

BLOCK = 32
"""Numbers in a row with one step and one zero."""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_COUNT, _KIND, _TEXT, _LIST = 10, 4, 8, 9
_F32, _Q4_1, _Q8_0 = 0, 3, 8
_Q4_1_BLOCK = np.dtype([("step", "<f2"), ("least", "<f2"), ("numbers", "u1", BLOCK // 2)])
_Q8_0_BLOCK = np.dtype([("step", "<f2"), ("numbers", "i1", BLOCK)])

Float32 = NDArray[np.float32]
Uint8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix [out, in]: ``step`` [out, in / 32] * (``numbers`` [out, in / 32, 32] - ``zero`` [out, in / 32])."""

    numbers: Uint8
    step: Float32
    zero: Uint8

    @classmethod
    def stacked(cls, several: Sequence[Blocks]) -> Blocks:
        """The matrices as one, their outputs one after the other."""
        return cls(*(np.concatenate([getattr(one, name) for one in several]) for name in ("numbers", "step", "zero")))


class Gguf:
    """``metadata`` by name, and tensors as float32 (:meth:`array`) or in 8 bits (:meth:`blocks`).

    Reads the formats in SmolLM2's file: F32, Q4_1 and Q8_0. Raises ModelError if ``path`` is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.metadata, self._tensors = self._read()
        except (OSError, ValueError, KeyError, struct.error, UnicodeDecodeError) as e:
            raise ModelError(f"{path} is no GGUF model, or is cut short ({e}): fetch it again") from e

    def _read(self) -> tuple[dict[str, Any], dict[str, tuple[tuple[int, ...], int, int]]]:
        at = 0

        def take(kind: int) -> Any:
            nonlocal at
            if kind == _TEXT:
                size = take(_COUNT)
                at += size
                if at > len(self._map):
                    raise ValueError("a text runs over its end")
                return self._map[at - size : at].decode()
            if kind == _LIST:
                of, count = take(_KIND), take(_COUNT)
                return [take(of) for _ in range(count)]
            (value,) = struct.unpack_from(f"<{_SCALARS[kind]}", self._map, at)
            at += struct.calcsize(_SCALARS[kind])
            return value

        if self._map[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        at = 4
        if (version := take(_KIND)) not in (2, 3):
            raise ValueError(f"version {version}")
        tensors, facts = take(_COUNT), take(_COUNT)
        metadata = {take(_TEXT): take(take(_KIND)) for _ in range(facts)}
        found = {}
        for _ in range(tensors):
            name, sizes = take(_TEXT), [take(_COUNT) for _ in range(take(_KIND))]
            found[name] = (tuple(reversed(sizes)), take(_KIND), take(_COUNT))
        step = metadata.get("general.alignment", 32)
        start = -(-at // step) * step
        return metadata, {name: (shape, kind, start + at) for name, (shape, kind, at) in found.items()}

    def let_go(self) -> None:
        """Give the memory of the pages that were read back to the system; they stay in the file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def fact(self, name: str) -> Any:
        """A value of the metadata. Raises ModelError if there is none."""
        try:
            return self.metadata[name]
        except KeyError:
            raise ModelError(f"{self._path} has no {name}: it is no model of this kind") from None

    def _raw(self, name: str, of: dict[int, tuple[Any, int]]) -> tuple[NDArray[Any], tuple[int, ...], int]:
        """The data, shape and format of ``name``; ``of``: for each format a unit's type and its count of numbers."""
        try:
            shape, kind, at = self._tensors[name]
            unit, holds = of[kind]
            return np.frombuffer(self._map, unit, math.prod(shape) // holds, at), shape, kind
        except (KeyError, ValueError) as e:
            raise ModelError(
                f"{self._path} has no {name}, is cut short, or holds it in a form that only llama.cpp reads ({e})"
            ) from e

    def array(self, name: str) -> Float32:
        """A tensor in float32."""
        found, shape, _ = self._raw(name, {_F32: (np.dtype("<f4"), 1)})
        return np.array(found, np.float32).reshape(shape)

    def blocks(self, name: str) -> Blocks:
        """A matrix that has 4 or 8 bits in the file, in 8 bits."""
        found, shape, kind = self._raw(name, {_Q4_1: (_Q4_1_BLOCK, BLOCK), _Q8_0: (_Q8_0_BLOCK, BLOCK)})
        numbers, step, zero = _of_q8_0(found) if kind == _Q8_0 else _of_q4_1(found)
        outputs = shape[0]
        return Blocks(numbers.reshape(outputs, -1, BLOCK), step.reshape(outputs, -1), zero.reshape(outputs, -1))

    def rows(self, name: str) -> Callable[[Sequence[int]], Float32]:
        """A function that gives rows of a Q8_0 matrix as float32; the other rows take no memory."""
        found, shape, _ = self._raw(name, {_Q8_0: (_Q8_0_BLOCK, BLOCK)})
        table = found.reshape(shape[0], -1)

        def of(numbers: Sequence[int]) -> Float32:
            some = table[list(numbers)]
            values = some["numbers"].astype(np.float32) * some["step"].astype(np.float32)[..., None]
            return values.reshape(len(some), shape[1])

        return of


def _of_q8_0(found: NDArray[Any]) -> tuple[Uint8, Float32, Uint8]:
    return (
        found["numbers"].view(np.uint8) ^ np.uint8(128),
        found["step"].astype(np.float32),
        np.full(len(found), 128, np.uint8),
    )


def _of_q4_1(found: NDArray[Any]) -> tuple[Uint8, Float32, Uint8]:
    """``least`` plus 0 to 15 steps becomes 0 to 240 steps of a sixteenth: only the zero is rounded."""
    packed = found["numbers"]
    numbers = np.concatenate([packed << 4, packed & 0xF0], axis=1)
    step, least = (found[name].astype(np.float32) for name in ("step", "least"))
    fine = np.maximum(step / 16, np.float32(1e-12))
    zero = np.rint(-least / fine)
    odd = (zero < 0) | (zero > 255)  # blocks without a zero between their numbers; SmolLM2 has none
    if odd.any():
        values = (numbers[odd] >> 4) * step[odd, None] + least[odd, None]
        low, high = np.minimum(values.min(axis=1), 0), np.maximum(values.max(axis=1), 0)
        fine[odd] = (high - low) / 255
        zero[odd] = np.rint(-low / fine[odd])
        numbers[odd] = np.clip(np.rint(values / fine[odd, None]) + zero[odd, None], 0, 255).astype(np.uint8)
    return numbers, fine, zero.astype(np.uint8)
