"""Threads that make what is not needed yet stand back behind all others.

Where several calls share a machine, its cores are busy, and a thread that has 0.1 ms of work waits 10 ms for its turn.
The kernel is told which work can wait: sound for the middle of a reply, not its beginning, nor a text that somebody
waits for (docs/rooms.md).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICENESS = 5  # a third of an event loop's share


def lower_priority() -> None:
    """The calling thread computes. Linux alone gives threads a priority of their own; elsewhere nothing happens."""
    if sys.platform == "linux":
        me = threading.get_native_id()
        with contextlib.suppress(OSError):  # not allowed, where a sandbox says so
            os.setpriority(os.PRIO_PROCESS, me, max(NICENESS, os.getpriority(os.PRIO_PROCESS, me)))
