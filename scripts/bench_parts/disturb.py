"""Another program on the same machine: computes for a while, rests for a while, from 30 ms to 20 s each, half the time.

``python disturb.py SEED``, until it is stopped.
"""

from __future__ import annotations

import random
import sys
from threading import Event

import numpy as np
from threadpoolctl import threadpool_limits

from voice_agent.clock import SYSTEM


def disturb(seed: int) -> None:
    """Never returns. Lengths are log-uniform: many short bursts, and some that last for whole turns."""
    rng = random.Random(seed)
    a = np.random.default_rng(seed).standard_normal((256, 256)).astype(np.float32)
    with threadpool_limits(1, user_api="blas"):
        while True:
            Event().wait(10 ** rng.uniform(-1.5, 1.3))
            until = SYSTEM.now() + 10 ** rng.uniform(-1.5, 1.3)
            product = a
            while SYSTEM.now() < until:
                product = np.tanh(product @ a / 256)


if __name__ == "__main__":
    disturb(int(sys.argv[1]))
