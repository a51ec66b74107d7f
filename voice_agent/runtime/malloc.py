"""How much memory this process has, and giving back what it no longer uses."""

from __future__ import annotations

import ctypes
import sys

import psutil

MB = 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
BIG_BYTES = 4 << 20  # with 1 MB, what Whisper's features are made in comes fresh for each pass: 3 to 7 ms
FREE_BYTES = 16 << 20


def resident_mb() -> float:
    """What this process has in memory now, in MB."""
    return float(psutil.Process().memory_info().rss) / MB


def trim_heap() -> None:
    """Have the C library return freed memory to the system (glibc keeps it; elsewhere nothing happens)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return
    trim(0)


def set_malloc_thresholds() -> bool:
    """Blocks of 4 MB and more get pages of their own; 16 MB that are free go back to the system. False without glibc.

    By default glibc raises both thresholds (up to 32 and 64 MB) whenever a bigger block is freed. From then on the
    models' work areas lie between small blocks that stay, in an arena for each thread, and what a call takes goes up
    and down by 30 MB with what was said last. To be called before there are threads (mallopt(3)).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl, which gives back by itself
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, BIG_BYTES) and mallopt(_M_TRIM_THRESHOLD, FREE_BYTES))
