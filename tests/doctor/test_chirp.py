from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_agent.audio.files import read_audio
from voice_agent.audio.resampling import resample
from voice_agent.doctor.chirp import LENGTH_S, agreed, chirp, find

Float = NDArray[np.float64]


def heard(rate: int, at_s: float, gain: float, noise: float, seed: int = 1) -> Float:
    """1.4 s of noise of that RMS with a chirp of that gain in it."""
    wave = np.random.default_rng(seed).normal(0, noise, round(1.4 * rate))
    one, start = chirp(rate) * gain, round(at_s * rate)
    wave[start : start + len(one)] += one
    return np.asarray(wave)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("at_s", [0.0, 0.0123, 0.25, 1.1])
def test_it_is_found_where_it_is(rate: int, at_s: float) -> None:
    echo = find(heard(rate, at_s, 0.1, 0.01), rate)
    assert echo is not None
    assert echo.at_s == pytest.approx(at_s, abs=1.5 / rate)
    assert echo.gain_db == pytest.approx(-20, abs=0.5)


def test_it_is_found_below_the_noise() -> None:
    found = [find(heard(16_000, 0.4, 0.02, 0.03, seed), 16_000) for seed in range(20)]
    assert all(echo is not None and abs(echo.at_s - 0.4) < 0.001 for echo in found)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_chirp(seed: int) -> None:
    assert find(heard(16_000, 0.3, 0.0, 0.05, seed), 16_000) is None


def test_silence_a_tone_and_too_little_are_no_chirp() -> None:
    assert find(np.zeros(20_000), 16_000) is None
    assert find(np.sin(np.arange(20_000) * 0.4) * 0.3, 16_000) is None
    assert find(np.zeros(10), 16_000) is None


def test_speech_is_no_chirp(speech: Path) -> None:
    """Now and then a syllable looks like one; four of them in step never did."""
    audio = read_audio(speech / "sense01.wav")
    pcm = resample(audio.samples, audio.sample_rate, 16_000).astype(np.float64) / 32768
    step, offsets = 22_400, range(0, 16_000, 1_600)
    assert len(pcm) > 3 * step + 16_000 + 22_400
    for offset in offsets:
        found = [find(pcm[offset + i * step : offset + (i + 1) * step], 16_000) for i in range(4)]
        assert agreed([echo.at_s for echo in found if echo is not None], 4) is None


def test_a_chirp_played_at_one_rate_is_found_at_another() -> None:
    played = np.zeros(48_000)
    played[9_600 : 9_600 + round(LENGTH_S * 48_000)] = chirp(48_000) * 0.3
    pcm = resample((played * 32767).astype(np.int16), 48_000, 16_000).astype(np.float64) / 32768
    echo = find(pcm, 16_000)
    assert echo is not None
    assert echo.at_s == pytest.approx(0.2, abs=0.002)


def test_most_must_agree() -> None:
    latency = agreed([0.1, 0.102, 0.104, 0.9], 4)
    assert latency is not None
    assert list(latency) == pytest.approx([0.102, 0.004])
    assert agreed([0.1, 0.3, 0.5, 0.7], 4) is None
    assert agreed([0.1, 0.1], 4) is None
    assert agreed([], 4) is None
