"""Garbage collections that keep nobody waiting."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def startup_objects_frozen() -> Iterator[None]:
    """What there is by now (modules, models) is not looked through again by each full garbage collection.

    One would hold the interpreter for up to 200 ms on a busy machine, the sound card's callbacks with it. LiveKit's
    workers do the same before they fork.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
