"""The audio devices: which ones a call will use, and the microphone's level and noise floor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..budget.stats import percentile
from ..clock import SYSTEM, Clock
from ..config import AudioConfig
from ..errors import AudioError
from ..microphone.portaudio import PortAudio
from ..microphone.sound_system import Device, Kind, SoundSystem, choose, format_for
from .chirp import Float
from .finding import Facts, Finding, Status
from .portaudio_probe import NO_SOUND
from .recorder_streams import InputRecorder

LISTEN_S = 1.2
SETTLE_S = 0.3  # not rated: gain control settles, and switching the microphone on clicks
DIGITAL_SILENCE_DB = -90.0
NOISY_DB = -45.0


def devices(config: AudioConfig, sound: SoundSystem | None = None) -> Iterator[Finding]:
    """Which microphone and which speaker a call will use, and how many there are."""
    sound = sound or PortAudio()
    listed = sound.devices()
    for kind, wanted in ends(config):
        name = name_of(kind)
        if not any(d.channels(kind) for d in listed):
            yield Finding(Status.WARNING, f"no {name} was found", NO_SOUND, name=name)
            continue
        device = choose(listed, kind, wanted)
        rate, channels = format_for(sound, device, kind)
        count = sum(1 for d in listed if d.channels(kind))
        which = "named in the settings" if wanted else "the default"
        text = f"{device.index} {device.name} ({device.host_api}), {which} of {count}; {rate} Hz, {channels} ch"
        facts: Facts = {
            "index": device.index,
            "device": device.name,
            "rate_hz": rate,
            "channels": channels,
            "of": count,
        }
        yield Finding(Status.OK, text, facts=facts, name=name)


def ends(config: AudioConfig) -> tuple[tuple[Kind, str], tuple[Kind, str]]:
    """Both directions, each with the device that the settings name (empty: the default)."""
    return ("input", config.input), ("output", config.output)


def name_of(kind: Kind) -> str:
    """The word for a direction's device."""
    return "microphone" if kind == "input" else "speaker"


def level(config: AudioConfig, sound: SoundSystem | None = None, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Record the microphone for a second: level and noise floor."""
    sound = sound or PortAudio()
    if not any(d.inputs for d in sound.devices()):
        yield Finding(Status.SKIPPED, "no microphone")
        return
    device = choose(sound.devices(), "input", config.input)
    rate, channels = format_for(sound, device, "input")
    recorded = InputRecorder(rate, clock, until=round(LISTEN_S * rate))
    stream = sound.open(
        device, "input", rate=rate, channels=channels, block=rate // 100,
        latency_s=config.latency_ms / 1000, callback=recorded,
    )  # fmt: skip
    try:
        arrived = recorded.enough.wait(LISTEN_S + 5)
    finally:
        stream.close()
    if not arrived:
        raise AudioError(
            f"microphone {device.name!r} opens but gives no sound; unplug it and plug it in again, or name another"
            " one with --input"
        )
    yield rate_level(recorded.wave()[round(SETTLE_S * rate) :], rate, device)


def rate_level(wave: Float, rate: int, device: Device) -> Finding:
    """Rate the level of ``wave`` (full scale 1): silence, overdrive, noise. In dB of full scale, RMS of 50 ms."""
    size = rate // 20
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    rms = 20 * np.log10(np.sqrt(np.mean(frames**2, axis=1)) + 1e-9)
    loud, floor, peak = float(np.max(rms)), percentile(map(float, rms), 10), float(np.max(np.abs(wave)))
    facts: Facts = {"level_dbfs": round(loud, 1), "noise_floor_dbfs": round(floor, 1), "peak": round(peak, 3)}
    text = f"level {loud:.0f} dB, noise floor {floor:.0f} dB of full scale"
    if loud < DIGITAL_SILENCE_DB:
        return Finding(
            Status.WARNING,
            f"{device.name} gives digital silence",
            "switch it on (mute key, sound settings, the system's permission for this terminal), or use --input",
            facts,
        )
    if peak > 0.99:
        return Finding(Status.WARNING, f"{text}: it overdrives", "turn its gain down in the sound settings", facts)
    if floor > NOISY_DB:
        return Finding(
            Status.WARNING,
            f"{text}: loud for a pause",
            "turn its gain down, find a quieter place, or use a headset",
            facts,
        )
    return Finding(Status.OK, text, facts=facts)
