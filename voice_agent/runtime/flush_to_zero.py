"""Numbers below 1e-38 taken for zero, in threads that do nothing but sound.

The filters of an audio codec run on in silence: what they remember shrinks until it is subnormal, and x86 processors
take a hundred cycles and more for an operation that meets such a number. Silence then costs more than speech
(docs/rooms.md). The processor can take them for zero; it is told a thread at a time, and a thread that is started has
what the one has that starts it.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_MXCSR = 7  # which 32 bits of fenv_t, on x86-64: after the x87's 28 bytes
_FLUSH_AND_DAZ = 0x8040  # results (bit 15) and operands (bit 6)


def enable_flush_to_zero() -> bool:
    """From now on, in the calling thread. False where nothing changes: another processor or system needs it less."""
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
    """Call ``start`` on a thread of its own: the threads that it starts take subnormal numbers for zero, the calling
    one does not. An exception of ``start`` is raised here."""
    with ThreadPoolExecutor(1, "subnormals", initializer=enable_flush_to_zero) as pool:
        pool.submit(start).result()
