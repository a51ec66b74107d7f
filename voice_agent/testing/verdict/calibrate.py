"""A fixed piece of work, timed between the turns: it tells a slower machine from slower code.

The work is of the stages' kind (matrix products and transforms, float32, one thread), always the same, and short enough
for the silence between two turns. What other programs took meanwhile is subtracted (processor.py), as for the stages:
the rest says how fast the processor is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from ...clock import SYSTEM, Clock
from .processor import Read, Watch, own_usage, told_by

ROUNDS = 6
SIZE = 256


class Calibration:
    """``samples_ms``: one value a :meth:`measure`. Blocks for about 10 to 30 ms each time; never during a turn."""

    def __init__(self, clock: Clock = SYSTEM, work: Callable[[], None] | None = None, read: Read | None = None) -> None:
        self._clock, self._read = clock, read or told_by(clock, own_usage)
        self._work = work or fixed_work()
        self.samples_ms: list[float] = []

    def measure(self) -> float:
        """Do the work once; its own time in milliseconds."""
        watch = Watch(self._clock, self._read)
        self._work()
        own_ms = watch.stop().own_ms
        self.samples_ms.append(own_ms)
        return own_ms


def fixed_work() -> Callable[[], None]:
    """The work: made once, the same numbers on every machine."""
    rng = np.random.default_rng(20240229)
    a = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
    wave = rng.standard_normal(1 << 14).astype(np.float32)

    def work() -> None:
        with threadpool_limits(1, user_api="blas"):
            product = a
            for _ in range(ROUNDS):
                product = np.tanh(product @ a / SIZE)
            for _ in range(ROUNDS):
                np.fft.irfft(np.fft.rfft(wave) * 0.5)

    work()  # the first time allocates and loads
    return work
