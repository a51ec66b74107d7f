"""Flush-to-zero: subnormal numbers (below 1e-38) are flushed to zero in threads that only process audio.

In silence the state of an audio codec's filters decays until it is subnormal. x86 processors take a hundred cycles and
more for an operation on such a number, so silence costs more than speech (docs/rooms.md). Flush-to-zero is a setting of
each thread; a new thread inherits it from the thread that starts it.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_MXCSR = 7  # index of MXCSR among the 32-bit words of fenv_t on x86-64: after 28 bytes of x87 state
_FLUSH_AND_DAZ = 0x8040  # FTZ: results (bit 15); DAZ: operands (bit 6)


def enable_flush_to_zero() -> bool:
    """Enable it in the calling thread. False on anything but Linux on x86-64, where nothing changes."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        libm = ctypes.CDLL(None)
        environment = (ctypes.c_uint32 * 16)()  # fenv_t has 32 bytes
        if libm.fegetenv(environment):
            return False
        environment[_MXCSR] |= _FLUSH_AND_DAZ
        return bool(libm.fesetenv(environment) == 0)
    except (OSError, AttributeError):
        return False


def start_with_flush_to_zero(start: Callable[[], object]) -> None:
    """Call ``start`` on a new thread with flush-to-zero. Threads that it starts inherit it; the calling thread does
    not change. Raises what ``start`` raises."""
    with ThreadPoolExecutor(1, "flush-to-zero", initializer=enable_flush_to_zero) as pool:
        pool.submit(start).result()
