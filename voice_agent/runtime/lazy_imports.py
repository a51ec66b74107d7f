"""A package's public names, each imported when it is first used.

Whisper, Piper and llama.cpp come with ``voice-agent[local]`` only and take a second to import; a package that names
them can be imported without them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of the module ``package``. ``homes``: submodule -> the names that it defines."""
    found_in = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in found_in:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{found_in[name]}", package), name)

    return get
