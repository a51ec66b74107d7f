from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from voice_agent.audio.resampling import resample

RATE = 16000


def tone(seconds: float, rate: int) -> npt.NDArray[np.float64]:
    """A 440 Hz tone at half of full scale, samples in [-1, 1]."""
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize(("before", "after"), [(8000, 16000), (44100, 16000), (48000, 16000), (22050, 48000)])
def test_resampling_keeps_length_pitch_and_level(before: int, after: int) -> None:
    changed = resample((tone(0.5, before) * 32767).astype(np.int16), before, after)
    assert changed.dtype == np.int16
    assert abs(len(changed) - 0.5 * after) <= 1
    inner = slice(after // 10, 4 * after // 10)
    expected = tone(0.5, after)[inner] * 32767
    assert np.abs(changed[inner] - expected).max() < 60  # -55 dB of full scale


def test_resampling_to_the_same_rate_or_of_nothing_changes_nothing() -> None:
    samples = np.array([1, 2, 3], np.int16)
    assert resample(samples, RATE, RATE) is samples
    assert len(resample(samples[:0], 8000, RATE)) == 0


def test_resampling_the_same_gives_the_same() -> None:
    samples = np.random.default_rng(3).normal(0, 3000, 441).astype(np.int16)
    assert len({resample(samples, 22_050, 24_000).tobytes() for _ in range(50)}) == 1


def test_what_overshoots_is_clipped() -> None:
    square = np.where(np.arange(480) % 48 < 24, 32767, -32768).astype(np.int16)
    changed = resample(square, RATE, 2 * RATE)
    middles = changed[24::48]  # of each plateau; wrapped around they would have the other sign
    assert np.abs(middles.astype(np.int32)).min() > 28_000
    assert (changed.min(), changed.max()) == (-32768, 32767)
