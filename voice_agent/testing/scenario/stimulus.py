"""Changes to the user's sound: speed, gain, telephone, noise, loss. Pure: samples and a seeded generator in.

All take and return 16 kHz mono int16. Echo is not here: it needs the agent's sound, so the call harness adds it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

from ...audio.samples import Int16
from .user_schema import Loss, Noise, Perturb

RATE = 16_000
PACKET = RATE // 50  # 20 ms, the usual length of a packet
_MU = 255.0

Float = npt.NDArray[np.float64]


def perturb(pcm: Int16, how: Perturb, rng: np.random.Generator, *, noise: Int16 | None = None) -> Int16:
    """``pcm`` as it arrives: speed, gain, telephone, noise, loss, in this order. ``noise``: the recording for babble
    or file (16 kHz), of any length."""
    if how.speed is not None:
        pcm = speed(pcm, how.speed)
    if how.gain is not None:
        pcm = gain(pcm, how.gain)
    if how.phone:
        pcm = phone(pcm)
    if how.noise is not None:
        pcm = add_noise(pcm, how.noise, rng, noise)
    if how.loss is not None:
        pcm = lose(pcm, how.loss, rng)
    return pcm


def speed(pcm: Int16, factor: float) -> Int16:
    """``factor`` times as fast, by resampling: the pitch moves with it."""
    return _clip(soxr.resample(pcm.astype(np.float32), RATE * factor, RATE, quality="HQ"))  # in float: no dither


def gain(pcm: Int16, level_db: float) -> Int16:
    """Louder or quieter; clipped at full scale."""
    return _clip(pcm.astype(np.float64) * 10 ** (level_db / 20))


def phone(pcm: Int16) -> Int16:
    """The telephone band: 8 kHz, 300 to 3400 Hz, 8 bit mu-law (G.711's curve)."""
    narrow = soxr.resample(pcm.astype(np.float64) / 32768.0, RATE, 8000, quality="HQ")
    spectrum = np.fft.rfft(narrow)
    hertz = np.fft.rfftfreq(len(narrow), 1 / 8000)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    band = np.clip(np.fft.irfft(spectrum, len(narrow)), -1, 1)
    squeezed = np.sign(band) * np.log1p(_MU * np.abs(band)) / np.log1p(_MU)
    coded = np.round(squeezed * 127) / 127
    heard = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(_MU)) / _MU
    return _clip(soxr.resample(heard, 8000, RATE, quality="HQ")[: len(pcm)] * 32768.0)


def add_noise(pcm: Int16, how: Noise, rng: np.random.Generator, recording: Int16 | None = None) -> Int16:
    """Noise under all of ``pcm``, at ``how.snr`` dB below its loud parts (RMS of the 20 ms frames above a tenth of the
    loudest: pauses do not make the speech quieter than it is)."""
    speech = pcm.astype(np.float64)
    sound = noise_samples(how.kind, len(pcm), rng, recording)
    level = speech_rms(speech)
    own = float(np.sqrt(np.mean(sound**2))) if len(sound) else 0.0
    if level == 0 or own == 0:
        return pcm
    return _clip(speech + sound * (level / own) * 10 ** (-how.snr / 20))


def speech_rms(samples: Float) -> float:
    """RMS of the frames with speech in them; 0 for silence."""
    frames = samples[: len(samples) // PACKET * PACKET].reshape(-1, PACKET)
    if not len(frames):
        return 0.0
    each = np.sqrt(np.mean(frames**2, axis=1))
    loud = each[each > each.max() / 10]
    return float(np.sqrt(np.mean(loud**2))) if len(loud) else 0.0


def noise_samples(kind: str, count: int, rng: np.random.Generator, recording: Int16 | None) -> Float:
    """``count`` samples of noise, of any level. Pink: 1/f power, shaped in the spectrum. Babble: six voices, made of
    ``recording`` at six places of it. File: ``recording`` from a random place on, over and over."""
    if kind == "white":
        return rng.standard_normal(count)
    if kind == "pink":
        spectrum = np.fft.rfft(rng.standard_normal(count))
        rise = np.sqrt(np.maximum(np.arange(len(spectrum)), 1.0))
        pink: Float = np.fft.irfft(spectrum / rise, count)
        return pink
    if recording is None or not len(recording):
        raise ValueError(f"noise of kind {kind} needs a recording")
    voices = 6 if kind == "babble" else 1
    places = rng.integers(0, len(recording), voices)
    source = recording.astype(np.float64)
    mixed = np.zeros(count)
    for place in places:
        mixed += np.take(source, np.arange(place, place + count), mode="wrap")
    return mixed


def lose(pcm: Int16, how: Loss, rng: np.random.Generator) -> Int16:
    """Packets of 20 ms that never came, or came later than the jitter buffer is deep, are concealed.

    ``repeat``: the last packet again, 6 dB quieter each time. *Simulated*: no network takes part.
    """
    packets = -(-len(pcm) // PACKET)
    gone = rng.random(packets) < how.rate
    if how.jitter > 0:
        gone |= np.abs(rng.normal(0.0, how.jitter, packets)) > how.buffer
    padded = np.zeros(packets * PACKET, np.int16)
    padded[: len(pcm)] = pcm
    rows = padded.reshape(packets, PACKET)
    out = rows.copy()
    in_a_row = 0
    for index in range(packets):
        in_a_row = in_a_row + 1 if gone[index] else 0
        if in_a_row:
            previous = out[index - 1] if index and how.conceal == "repeat" else np.zeros(PACKET, np.int16)
            out[index] = (previous / 2).astype(np.int16)
    return out.reshape(-1)[: len(pcm)]


# ITU-T Q.23: the two frequencies of each key.
_ROWS = (697, 770, 852, 941)
_COLUMNS = (1209, 1336, 1477, 1633)
_KEYS = ("123A", "456B", "789C", "*0#D")


def dtmf(keys: str, *, on_s: float = 0.12, off_s: float = 0.08) -> Int16:
    """The tones of ``keys``, one after the other, as a telephone sends them in the voice band."""
    count, pause = round(on_s * RATE), np.zeros(round(off_s * RATE))
    time = np.arange(count) / RATE
    parts = []
    for key in keys:
        row = next(index for index, line in enumerate(_KEYS) if key in line)
        low, high = _ROWS[row], _COLUMNS[_KEYS[row].index(key)]
        parts += [6000 * (np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)), pause]
    return _clip(np.concatenate(parts))


def _clip(samples: Float) -> Int16:
    limited: Int16 = np.clip(np.round(samples), -32768, 32767).astype(np.int16)
    return limited
