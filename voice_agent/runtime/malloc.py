"""The process's resident memory, and returning freed memory to the system."""

from __future__ import annotations

import ctypes
import sys

import psutil

MB = 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
BIG_BYTES = 4 << 20  # with 1 MB, the buffers of Whisper's features are mapped anew for each pass: 3 to 7 ms
FREE_BYTES = 16 << 20


def resident_mb() -> float:
    """Resident memory of this process in MB (2**20 bytes)."""
    return float(psutil.Process().memory_info().rss) / MB


def trim_heap() -> None:
    """Return freed memory to the system (glibc's malloc_trim; with another C library nothing happens)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return
    trim(0)


def set_malloc_thresholds() -> bool:
    """Fix glibc's thresholds: blocks of 4 MB and more are mapped, 16 MB of free memory go back to the system.

    By default glibc raises both thresholds (up to 32 and 64 MB) whenever a larger block is freed. Then the models' work
    areas lie between small blocks in an arena of each thread, and the memory of a call varies by 30 MB with what was
    said last. Call it before threads start (mallopt(3)). Returns False without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl, which gives back by itself
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, BIG_BYTES) and mallopt(_M_TRIM_THRESHOLD, FREE_BYTES))
