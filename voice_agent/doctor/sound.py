"""The sound card: which devices, how loud the room is, how long from the speaker back in at the microphone."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..audio.samples import Int16
from ..budget.stats import percentile
from ..clock import SYSTEM, Clock
from ..config import AudioConfig, environment_without_secrets
from ..errors import AudioError
from ..microphone.portaudio import PortAudio
from ..microphone.sound_system import Device, Kind, SoundSystem, choose, format_for
from .chirp import LENGTH_S, Float, agreed, chirp, find
from .finding import Facts, Finding, Status

LISTEN_S = 1.2
SETTLE_S = 0.3  # of what a microphone gives first: gain control, the click of being switched on
CHIRPS = 4
PERIOD_S = 1.4  # so a round trip of up to 1.1 s can be told
LEVEL = 0.35
FIRST_S = 0.5
AROUND_S = 0.2
XRUNS_AT_START = 2  # a stream that has just begun may miss a block; it is nothing one hears later
DIGITAL_SILENCE_DB = -90.0
NOISY_DB = -45.0
SLOW_MS = 250.0
NO_SOUND = (
    "for a talk, plug in a microphone and a speaker (in a container: pass the sound server through); without them"
    " use voice-agent talk --demo, voice-agent script, or rooms"
)


PROBE = "import sounddevice; sounddevice.query_devices(); print(sounddevice.get_portaudio_version()[1])"
PROBE_S = 15.0


class PortAudioProbe:
    """Starts the sound system in a child process first: ALSA and drivers may end the process that asks them."""

    def __init__(self, probe: str = PROBE) -> None:
        self._probe = probe
        self.usable = True

    def __call__(self) -> Iterator[Finding]:
        self.usable = False
        try:
            done = subprocess.run(
                [sys.executable, "-c", self._probe],
                capture_output=True,
                text=True,
                timeout=PROBE_S,
                check=False,
                env=environment_without_secrets(),
            )
        except subprocess.TimeoutExpired:
            yield Finding(Status.WARNING, "the sound system does not answer", f"restart the sound server; {NO_SOUND}")
            return
        if done.returncode == 0:
            self.usable = True
            yield Finding(Status.OK, done.stdout.strip().partition(",")[0])
            return
        if "PortAudio library not found" in done.stderr:
            advice = f"on Debian and Ubuntu: sudo apt install libportaudio2; {NO_SOUND}"
            yield Finding(Status.WARNING, "PortAudio is not installed", advice)
            return
        last = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1][:120]
        advice = f"check ALSA's configuration (~/.asoundrc, ALSA_CONFIG_PATH); {NO_SOUND}"
        yield Finding(Status.WARNING, f"the sound system does not start ({last})", advice)

    def guarded(self, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
        """``check``, unless the sound system has been seen not to start."""
        if self.usable:
            yield from check()
        else:
            yield Finding(Status.SKIPPED, "without PortAudio")


def devices(config: AudioConfig, sound: SoundSystem | None = None) -> Iterator[Finding]:
    """Which microphone and speaker will be used, of how many."""
    sound = sound or PortAudio()
    listed = sound.devices()
    for kind, wanted in _ends(config):
        name = _name(kind)
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


def _ends(config: AudioConfig) -> tuple[tuple[Kind, str], tuple[Kind, str]]:
    return ("input", config.input), ("output", config.output)


def _name(kind: Kind) -> str:
    return "microphone" if kind == "input" else "speaker"


@dataclass(slots=True)
class _Heard:
    """What came in: block by block, with the clock's time at which it was handed over."""

    rate: int
    clock: Clock
    blocks: list[Int16] = field(default_factory=list)
    ends: list[tuple[float, int]] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    samples: int = 0
    lost: int = 0
    enough: threading.Event = field(default_factory=threading.Event)
    until: int = 0

    def __call__(self, pcm: Int16, age_s: float, lost: bool) -> None:
        self.blocks.append(pcm.copy())
        self.samples += len(pcm)
        self.ends.append((self.clock.now(), self.samples))
        self.ages_s.append(age_s - len(pcm) / self.rate)  # of its last sample
        self.lost += lost
        if self.samples >= self.until:
            self.enough.set()

    def wave(self) -> Float:
        return np.concatenate(self.blocks).astype(np.float64) / 32768 if self.blocks else np.zeros(0)

    def time_of(self, sample: float) -> float:
        """The clock's time at which ``sample`` came in."""
        return _time_of(sample, self.ends, self.rate)

    def sample(self, at: float) -> int:
        """The sample that came in at the time ``at``."""
        return next((end for when, end in self.ends if when >= at), self.samples)


@dataclass(slots=True)
class _Played:
    """What goes out: the chirps, with the clock's time at which each block was asked for."""

    wave: Int16
    rate: int
    clock: Clock
    starts: list[tuple[float, int]] = field(default_factory=list)
    leads_s: list[float] = field(default_factory=list)
    at: int = 0
    lost: int = 0

    def __call__(self, pcm: Int16, until_s: float, lost: bool) -> None:
        piece = self.wave[self.at : self.at + len(pcm)]
        pcm[: len(piece)] = piece
        pcm[len(piece) :] = 0
        self.starts.append((self.clock.now(), self.at))
        self.leads_s.append(until_s)
        self.at += len(pcm)
        self.lost += lost

    def time_of(self, sample: float) -> float:
        """The clock's time at which ``sample`` was asked for."""
        return _time_of(sample, self.starts, self.rate)


def _time_of(sample: float, marks: Sequence[tuple[float, int]], rate: int) -> float:
    """When ``sample`` passed: sound servers take and give blocks in bursts, hence the median of those around it.

    Not of all: where sound was lost, what comes after it is late for good.
    """
    near = [at - place / rate for at, place in marks if abs(place - sample) <= AROUND_S * rate]
    return statistics.median(near or [at - place / rate for at, place in marks]) + sample / rate


def level(config: AudioConfig, sound: SoundSystem | None = None, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Open the microphone, listen for a second: level, noise floor."""
    sound = sound or PortAudio()
    if not any(d.inputs for d in sound.devices()):
        yield Finding(Status.SKIPPED, "no microphone")
        return
    device = choose(sound.devices(), "input", config.input)
    rate, channels = format_for(sound, device, "input")
    heard = _Heard(rate, clock, until=round(LISTEN_S * rate))
    stream = sound.open(
        device, "input", rate=rate, channels=channels, block=rate // 100,
        latency_s=config.latency_ms / 1000, callback=heard,
    )  # fmt: skip
    try:
        arrived = heard.enough.wait(LISTEN_S + 5)
    finally:
        stream.close()
    if not arrived:
        raise AudioError(
            f"microphone {device.name!r} opens but gives no sound; unplug it and plug it in again, or name another"
            " one with --input"
        )
    yield judge_level(heard.wave()[round(SETTLE_S * rate) :], rate, device)


def judge_level(wave: Float, rate: int, device: Device) -> Finding:
    """What the level of ``wave`` (full scale 1) tells of the microphone. Levels in dB of full scale, RMS of 50 ms."""
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


def round_trip(config: AudioConfig, sound: SoundSystem | None = None, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Play chirps and find them again in what the microphone hears."""
    sound = sound or PortAudio()
    listed = sound.devices()
    missing = [_name(kind) for kind, _ in _ends(config) if not any(d.channels(kind) for d in listed)]
    if missing:
        yield Finding(Status.SKIPPED, f"no {' and no '.join(missing)}")
        return
    microphone, speaker = (choose(listed, kind, wanted) for kind, wanted in _ends(config))
    in_rate, in_channels = format_for(sound, microphone, "input")
    out_rate, out_channels = format_for(sound, speaker, "output")
    total_s = FIRST_S + CHIRPS * PERIOD_S
    heard = _Heard(in_rate, clock, until=round(total_s * in_rate))
    played = _Played(song(out_rate), out_rate, clock)
    asked_s = config.latency_ms / 1000
    ear = sound.open(
        microphone, "input", rate=in_rate, channels=in_channels, block=in_rate // 100,
        latency_s=asked_s, callback=heard,
    )  # fmt: skip
    try:
        mouth = sound.open(
            speaker, "output", rate=out_rate, channels=out_channels, block=out_rate // 100,
            latency_s=asked_s, callback=played,
        )  # fmt: skip
        try:
            heard.enough.wait(total_s + 5)
        finally:
            mouth.close()
    finally:
        ear.close()
    if not heard.blocks or not played.starts:
        deaf = microphone if not heard.blocks else speaker
        raise AudioError(
            f"{deaf.name!r} opens but does not run; unplug it and plug it in again, or name another device"
        )
    yield judge_round_trip(heard, played)


def song(rate: int) -> Int16:
    """Silence, then ``CHIRPS`` chirps, each at the start of its period."""
    wave = np.zeros(round((FIRST_S + CHIRPS * PERIOD_S) * rate))
    for number in range(CHIRPS):
        start = round((FIRST_S + number * PERIOD_S) * rate)
        one = chirp(rate)
        wave[start : start + len(one)] = one * LEVEL
    return (wave * 32767).astype(np.int16)


def judge_round_trip(heard: _Heard, played: _Played) -> Finding:
    """From handing a sample to the speaker until the microphone hands it back."""
    wave = heard.wave()
    latencies, gains = list[float](), list[float]()
    for number in range(CHIRPS):
        due = played.time_of((FIRST_S + number * PERIOD_S) * played.rate)
        first = max(0, heard.sample(due - AROUND_S))
        echo = find(wave[first : heard.sample(due + PERIOD_S - AROUND_S)], heard.rate)
        if echo is not None:
            latencies.append(heard.time_of(echo.at_s * heard.rate + first) - due)
            gains.append(echo.gain_db - 20 * float(np.log10(LEVEL)))
    result = agreed(latencies, CHIRPS)
    lost = heard.lost + played.lost
    if result is None:
        return Finding(
            Status.WARNING,
            f"nothing came back of {CHIRPS} chirps ({len(latencies)} uncertain)",
            "with headphones that is as it should be; else turn the speaker up, unmute the microphone, or name the"
            " right devices with --input and --output (voice-agent devices)",
            {"chirps_found": len(latencies), "xruns": lost},
        )
    latency_s, spread_s = result
    claimed_s = statistics.median(heard.ages_s) + statistics.median(played.leads_s)
    facts: Facts = {
        "round_trip_ms": round(latency_s * 1000, 1),
        "spread_ms": round(spread_s * 1000, 1),
        "reported_ms": round(claimed_s * 1000, 1),
        "gain_db": round(statistics.median(gains), 1),
        "chirps_found": len(latencies),
        "xruns": lost,
    }
    text = (
        f"{latency_s * 1000:.0f} ms out and back (the devices report {claimed_s * 1000:.0f} ms; spread"
        f" {spread_s * 1000:.0f} ms, n={len(latencies)}); came back at {statistics.median(gains):+.0f} dB"
    )
    if lost > XRUNS_AT_START:
        advice = "sound was lost on the way; raise audio.latency_ms, or end what else runs"
        return Finding(Status.WARNING, f"{text}; {lost} xruns", advice, facts)
    if latency_s * 1000 > SLOW_MS:
        advice = (
            "the answer is heard so much later: use devices on a cable rather than Bluetooth, lower audio.latency_ms"
        )
        return Finding(Status.WARNING, text, advice, facts)
    return Finding(Status.OK, text, facts=facts)


CHIRP_DEADLINE_S = FIRST_S + CHIRPS * PERIOD_S + 15
assert LENGTH_S < PERIOD_S
