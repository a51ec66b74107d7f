"""Short pauses for garbage collection."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def startup_objects_frozen() -> Iterator[None]:
    """In this context full garbage collections skip the objects that exist now (modules, models).

    With them a collection holds the interpreter, and so the sound card's callbacks, for up to 200 ms on a busy machine.
    LiveKit's workers do the same before they fork.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
