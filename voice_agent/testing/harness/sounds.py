"""Sounds without speech, made with numpy, that must not end a reply. All are *synthetic*, 16 kHz mono int16.

They stand in for recordings: each has the envelope and the spectrum of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from ...audio.samples import Int16

RATE = 16_000

Float = npt.NDArray[np.float64]


def cough(seed: int = 0) -> Int16:
    """Two bursts of breath through the throat: noise around 500 and 1,500 Hz, 120 and 180 ms, loud at once."""
    noise = np.random.default_rng(seed)
    bursts = [_burst(noise, 0.12, 0.5), np.zeros(int(0.11 * RATE)), _burst(noise, 0.18, 0.4)]
    return _int16(np.concatenate(bursts))


def throat(seed: int = 0) -> Int16:
    """Clearing one's throat: a voice without words. Jittered pulses near 100 Hz through broad formants; 2 x 250 ms.

    The VAD takes it for speech, so it is the hardest of these.
    """
    noise = np.random.default_rng(seed)
    parts = []
    for hertz in (noise.uniform(85, 110), noise.uniform(95, 130)):
        n = int(0.25 * RATE)
        pulses, at = np.zeros(n), 0.0
        while at < n:
            pulses[int(at)] = noise.uniform(0.5, 1.0)
            at += RATE / hertz * noise.uniform(0.85, 1.15)
        white = pulses + 0.02 * noise.standard_normal(n)
        voice = 0.8 * _band(white, 80, 900) + 0.3 * _band(white, 1000, 1500) + 0.1 * _band(white, 2000, 3500)
        parts += [0.15 * voice * np.sin(np.pi * np.arange(n) / n) ** 0.5, np.zeros(int(0.08 * RATE))]
    return _int16(np.concatenate(parts))


def click(seed: int = 0) -> Int16:
    """One click: 4 ms of noise that dies away."""
    return _int16(_click(np.random.default_rng(seed), 0.5))


def keyboard(seed: int = 0, seconds: float = 2.0) -> Int16:
    """Typing: a key every 70-220 ms, each with the sound of its going down and, softer, of its coming up."""
    noise = np.random.default_rng(seed)
    out = np.zeros(int(seconds * RATE))
    at = 0.02
    while at < seconds - 0.15:
        for delay, level in ((0.0, noise.uniform(0.1, 0.25)), (noise.uniform(0.05, 0.09), 0.06)):
            start = int((at + delay) * RATE)
            key = _click(noise, level)
            out[start : start + len(key)] += key[: len(out) - start]
        at += noise.uniform(0.07, 0.22)
    return _int16(out)


def breath(seed: int = 0) -> Int16:
    """Breathing out near the microphone: 900 ms of soft noise that swells and fades."""
    noise = np.random.default_rng(seed)
    n = int(0.9 * RATE)
    return _int16(0.05 * np.sin(np.pi * np.arange(n) / n) ** 2 * _band(noise.standard_normal(n), 300, 3500))


def hum(seed: int = 0, seconds: float = 2.0) -> Int16:
    """A fan or an engine: steady noise, low."""
    noise = np.random.default_rng(seed)
    return _int16(0.06 * _band(noise.standard_normal(int(seconds * RATE)), 40, 700))


SOUNDS: Mapping[str, Callable[[int], Int16]] = {
    "cough": cough,
    "throat": throat,
    "click": click,
    "keyboard": keyboard,
    "breath": breath,
    "hum": hum,
}
"""By name; the argument is the seed."""


def _burst(noise: np.random.Generator, seconds: float, level: float) -> Float:
    n = int(seconds * RATE)
    white = noise.standard_normal(n)
    throat = 0.7 * _band(white, 350, 700) + 0.5 * _band(white, 1100, 1900) + 0.15 * _band(white, 2500, 5000)
    return level * throat * np.minimum(1, np.arange(n) / (0.008 * RATE)) * np.exp(-np.arange(n) / (0.35 * n))


def _click(noise: np.random.Generator, level: float) -> Float:
    n = int(0.012 * RATE)
    return level * _band(noise.standard_normal(n), 1500, 7000) * np.exp(-np.arange(n) / (0.003 * RATE))


def _band(white: Float, low_hz: float, high_hz: float) -> Float:
    """Only what lies between two frequencies, at unit loudness (RMS 1)."""
    spectrum = np.fft.rfft(white)
    frequency = np.fft.rfftfreq(len(white), 1 / RATE)
    spectrum[(frequency < low_hz) | (frequency > high_hz)] = 0
    out: Float = np.fft.irfft(spectrum, len(white))
    return out / max(float(np.sqrt(np.mean(out**2))), 1e-9)


def _int16(samples: Float) -> Int16:
    return np.clip(samples * 32767, -32768, 32767).astype(np.int16)
