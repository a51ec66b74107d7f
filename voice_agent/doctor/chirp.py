"""A chirp, and a matched filter that finds it in a recording. Pure.

The autocorrelation of a sweep is one narrow peak, whatever loudspeaker and room did to its level. So its position is
known to the sample, even below the noise (pulse compression: Klauder et al., Bell System Technical Journal 39, 1960).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

LOW_HZ, HIGH_HZ = 500.0, 6000.0  # the range of small loudspeakers and of a microphone at 16 kHz
LENGTH_S = 0.25
FADE_S = 0.01
# The highest of 20,000 lags of noise is ~4.5 times their RMS; a chirp 18 dB below white noise still reaches 8.
# Speech reaches 11 at times: hence several chirps, which must agree.
LEAST_SCORE = 8.0
AGREE_S = 0.03
_GUARD_S = 0.02


def chirp(rate: int) -> Float:
    """The sweep at ``rate`` Hz, peak 1. It is the same sound at every rate, so another rate can find it."""
    t = np.arange(round(LENGTH_S * rate)) / rate
    octaves = np.log(HIGH_HZ / LOW_HZ)
    phase = 2 * np.pi * LOW_HZ * LENGTH_S / octaves * (np.exp(t / LENGTH_S * octaves) - 1)
    fade = np.clip(np.minimum(t, LENGTH_S - t) / FADE_S, 0, 1)
    return np.asarray(np.sin(phase) * np.sin(fade * np.pi / 2) ** 2)


@dataclass(frozen=True, slots=True)
class ChirpMatch:
    """A chirp in a recording. ``at_s``: its start; ``score``: peak / noise; ``gain_db``: relative to the original."""

    at_s: float
    score: float
    gain_db: float


def find(recorded: Float, rate: int) -> ChirpMatch | None:
    """The loudest chirp in ``recorded`` (full scale 1); None if no peak is above the noise."""
    sent = chirp(rate)
    if len(recorded) < len(sent):
        return None
    size = 1 << (len(recorded) + len(sent)).bit_length()
    spectrum = np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(sent, size))
    match = np.abs(np.fft.irfft(spectrum, size)[: len(recorded) - len(sent) + 1])
    at = int(np.argmax(match))
    guard = round(_GUARD_S * rate)
    rest = np.concatenate([match[: max(0, at - guard)], match[at + guard :]])
    noise = float(np.sqrt(np.mean(rest**2))) if len(rest) else 0.0
    peak = float(match[at])
    if peak <= 1e-9 or peak < LEAST_SCORE * noise:
        return None
    gain = peak / float(np.sum(sent**2))
    return ChirpMatch(at / rate, peak / max(noise, 1e-12), 20 * float(np.log10(max(gain, 1e-9))))


def agreed(latencies_s: Sequence[float], sent: int) -> tuple[float, float] | None:
    """The latency (median) and its spread, if most of the chirps came back and agree within 30 ms; else None."""
    if not latencies_s:
        return None
    middle = statistics.median(latencies_s)
    close = [one for one in latencies_s if abs(one - middle) <= AGREE_S]
    if len(close) * 2 <= sent:
        return None
    return statistics.median(close), max(close) - min(close)
