"""CTranslate2's ``model.bin``, read without CTranslate2.

Layout (binary versions 3 to 6, https://github.com/OpenNMT/CTranslate2/blob/master/python/ctranslate2/specs/model_spec.py):
version, name of the specification and its revision; each variable with its name, shape, type and bytes; aliases of
variables. The file is memory-mapped: variables that are not used take no memory.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ModelError

_TYPES: tuple[type[np.generic] | None, ...] = (
    np.float32,
    np.int8,
    np.int16,
    np.int32,
    np.float16,
    None,
)  # last: bfloat16
_VERSIONS = range(3, 7)


class Ct2File:
    """The variables of one model by name. ``array`` gives them as float32, whatever their type in the file is.

    Raises ModelError if ``path`` is no such file, or has a number format that only CTranslate2 reads.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._data: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
            self._variables, self._aliases = self._read()
        except (OSError, ValueError, IndexError, struct.error, UnicodeDecodeError) as e:
            raise ModelError(f"{path} is no CTranslate2 model, or is cut short ({e}): convert or fetch it again") from e

    def _read(self) -> tuple[Mapping[str, tuple[Any, tuple[int, ...], int, int]], Mapping[str, str]]:
        at = 0

        def take(kind: str) -> int:
            nonlocal at
            (value,) = struct.unpack_from(f"<{kind}", self._map, at)
            at += struct.calcsize(f"<{kind}")
            return int(value)

        def text() -> str:
            nonlocal at
            size = take("H")  # with its closing zero
            value = bytes(self._data[at : at + size - 1]).decode()
            at += size
            return value

        version = take("I")
        if version not in _VERSIONS:
            raise ValueError(f"binary version {version}")
        text()
        take("I")
        variables: dict[str, tuple[Any, tuple[int, ...], int, int]] = {}
        for _ in range(take("I")):
            name = text()
            shape = tuple(take("I") for _ in range(take("B")))
            kind, size = take("B"), take("I")
            variables[name] = (_TYPES[kind], shape, at, size)
            at += size
            if at > len(self._data):
                raise ValueError(f"{name} is cut short")
        aliases: dict[str, str] = {}
        for _ in range(take("I")):
            alias = text()
            aliases[alias] = text()
        self.let_go()
        return variables, aliases

    def __contains__(self, name: str) -> bool:
        return self._aliases.get(name, name) in self._variables

    def raw(self, name: str) -> NDArray[Any]:
        """The variable as in the file, memory-mapped."""
        kind, shape, at, size = self._variables[self._aliases.get(name, name)]
        if kind is None:
            raise ModelError(f"{name} is stored as bfloat16: set stt.backend to ctranslate2 for this model")
        found: NDArray[Any] = self._data[at : at + size].view(kind).reshape(shape)
        return found

    def array(self, name: str) -> NDArray[np.float32]:
        """The variable as float32; int8 is divided by its scale."""
        found: NDArray[np.float32] = self.raw(name).astype(np.float32)
        self.let_go()
        scale = f"{name}_scale"
        if scale in self:
            found = found / self.array(scale)[:, None]
        return found

    def matrix(self, name: str) -> NDArray[np.floating]:
        """The variable as in the file if that is floating point, else as float32."""
        found = self.raw(name)
        return found if found.dtype.kind == "f" else self.array(name)

    def let_go(self) -> None:
        """Give the memory of the pages that were read back to the system; they stay in the file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def layers(self, part: str) -> int:
        """How many layers ``part`` ("encoder", "decoder") has."""
        count = 0
        while f"{part}/layer_{count}/self_attention/linear_0/weight" in self:
            count += 1
        return count
