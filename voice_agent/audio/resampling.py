"""Changing the sample rate of mono int16 audio."""

from __future__ import annotations

import numpy as np
import soxr

from .samples import Int16


def resample(samples: Int16, from_rate: int, to_rate: int) -> Int16:
    """``samples`` (mono, shape (n,)) at ``from_rate`` Hz -> the same sound at ``to_rate`` Hz (soxr, high quality).

    Equal rates give the same array back. Equal input gives equal output: the work is done in float, because soxr
    dithers when it rounds to int16 itself, with a seed that cannot be set (30 calls with the same 441 samples gave two
    different results).
    """
    if from_rate == to_rate or len(samples) == 0:
        return samples
    changed = soxr.resample(samples.astype(np.float32), from_rate, to_rate, quality="HQ")
    rounded: Int16 = np.clip(np.rint(changed), -32768, 32767).astype(np.int16)
    return rounded
