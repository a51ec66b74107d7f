"""A fixed piece of work, timed between the turns: has the code become slower, or only the machine?

The work is of the kind the stages do (matrix products and transforms, float32, one thread), always the same, and
short enough to fit into the silence between two turns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from ..clock import SYSTEM, Clock

ROUNDS = 6
SIZE = 256


class Calibration:
    """``samples_ms``: one value a :meth:`measure`. Blocks for about 10 to 30 ms each time; never during a turn."""

    def __init__(self, clock: Clock = SYSTEM, work: Callable[[], None] | None = None) -> None:
        self._clock = clock
        self._work = work or fixed_work()
        self.samples_ms: list[float] = []

    def measure(self) -> float:
        """Do the work once; its time in milliseconds."""
        began = self._clock.now()
        self._work()
        taken = (self._clock.now() - began) * 1000
        self.samples_ms.append(taken)
        return taken


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
