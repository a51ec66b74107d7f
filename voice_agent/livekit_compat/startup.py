"""What is checked before a session or a worker starts: the versions, and the names that no call can be held without."""

from __future__ import annotations

import functools

from . import streams
from .symbols import TESTED, Symbol, installed, warn_once

DISTRIBUTIONS = ("livekit-agents", "livekit", "livekit-local-inference")
REQUIRED = tuple(symbol for symbol in vars(streams).values() if isinstance(symbol, Symbol) and symbol.required)


@functools.cache
def check() -> None:
    """Look once a process.

    A version outside those that the tests know is warned of. Raises DependencyError, naming a version that works, if a
    required name is missing. faster-whisper is checked when its model is loaded, httpx2 when connections are opened.
    """
    for distribution in DISTRIBUTIONS:
        version, known = installed(distribution), TESTED[distribution]
        if version not in known:
            warn_once(f"{distribution} {version} is installed; voice-agent is tested with {known}")
    for symbol in REQUIRED:
        symbol.find()
