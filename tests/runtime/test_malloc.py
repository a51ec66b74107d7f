from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# Two blocks of 24 MB are freed, one of which lies below one that stays: with glibc's own thresholds the pages of the
# second stay in the process.
PROGRAM = """
import ctypes
from voice_agent.runtime.malloc import set_malloc_thresholds

def resident_mb():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096 / 2**20

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def block(size):
    at = libc.malloc(size)
    ctypes.memset(at, 1, size)
    return at

print({call})
size = 24 << 20
libc.free(block(size))
before = resident_mb()
big, small = block(size), block(100_000)
libc.free(big)
print(resident_mb() - before > 20)
"""


def stays(call: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM.replace("{call}", call)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library than glibc")
def test_what_is_freed_is_given_back() -> None:
    assert stays("False") == ["False", "True"], "as glibc does it by itself"
    assert stays("set_malloc_thresholds()") == ["True", "False"]
