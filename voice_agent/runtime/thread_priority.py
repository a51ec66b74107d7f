"""A lower priority for threads whose results are not needed yet.

Where several calls share a machine, its cores are busy, and a thread with 0.1 ms of work waits 10 ms for a core. Work
that can wait gets a higher niceness: audio for the middle of a reply. The start of a reply and the transcript keep the
normal priority (docs/rooms.md).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICENESS = 5  # a third of an event loop's share


def lower_priority() -> None:
    """Raise the calling thread's niceness to NICENESS. Only Linux has a priority for each thread; elsewhere nothing
    happens."""
    if sys.platform == "linux":
        me = threading.get_native_id()
        with contextlib.suppress(OSError):  # not allowed, where a sandbox says so
            os.setpriority(os.PRIO_PROCESS, me, max(NICENESS, os.getpriority(os.PRIO_PROCESS, me)))
