"""The round trip: how long a sound takes from the program through speaker, air and microphone back to the program."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np

from ..audio.samples import Int16
from ..clock import SYSTEM, Clock
from ..config import AudioConfig
from ..errors import AudioError
from ..microphone.portaudio import PortAudio
from ..microphone.sound_system import SoundSystem, choose, format_for
from .audio_devices import ends, name_of
from .chirp import LENGTH_S, agreed, chirp, find
from .finding import Facts, Finding, Status
from .recorder_streams import AROUND_S, InputRecorder, WavePlayer

CHIRPS = 4
PERIOD_S = 1.4  # so a round trip of up to 1.1 s can be measured
LEVEL = 0.35
FIRST_S = 0.5
XRUNS_AT_START = 2  # a stream that has just started may miss a block; that is not audible later
SLOW_MS = 250.0


def round_trip(config: AudioConfig, sound: SoundSystem | None = None, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Play chirps and find them in the microphone's signal."""
    sound = sound or PortAudio()
    listed = sound.devices()
    missing = [name_of(kind) for kind, _ in ends(config) if not any(d.channels(kind) for d in listed)]
    if missing:
        yield Finding(Status.SKIPPED, f"no {' and no '.join(missing)}")
        return
    microphone, speaker = (choose(listed, kind, wanted) for kind, wanted in ends(config))
    in_rate, in_channels = format_for(sound, microphone, "input")
    out_rate, out_channels = format_for(sound, speaker, "output")
    total_s = FIRST_S + CHIRPS * PERIOD_S
    recorded = InputRecorder(in_rate, clock, until=round(total_s * in_rate))
    played = WavePlayer(chirps(out_rate), out_rate, clock)
    asked_s = config.latency_ms / 1000
    input_stream = sound.open(
        microphone, "input", rate=in_rate, channels=in_channels, block=in_rate // 100,
        latency_s=asked_s, callback=recorded,
    )  # fmt: skip
    try:
        output_stream = sound.open(
            speaker, "output", rate=out_rate, channels=out_channels, block=out_rate // 100,
            latency_s=asked_s, callback=played,
        )  # fmt: skip
        try:
            recorded.enough.wait(total_s + 5)
        finally:
            output_stream.close()
    finally:
        input_stream.close()
    if not recorded.blocks or not played.starts:
        dead = microphone if not recorded.blocks else speaker
        raise AudioError(
            f"{dead.name!r} opens but does not run; unplug it and plug it in again, or name another device"
        )
    yield rate_round_trip(recorded, played)


def chirps(rate: int) -> Int16:
    """Silence, then ``CHIRPS`` chirps, each at the start of its period."""
    wave = np.zeros(round((FIRST_S + CHIRPS * PERIOD_S) * rate))
    for number in range(CHIRPS):
        start = round((FIRST_S + number * PERIOD_S) * rate)
        one = chirp(rate)
        wave[start : start + len(one)] = one * LEVEL
    return (wave * 32767).astype(np.int16)


def rate_round_trip(recorded: InputRecorder, played: WavePlayer) -> Finding:
    """The time from giving a sample to the speaker until the microphone delivers it."""
    wave = recorded.wave()
    latencies, gains = list[float](), list[float]()
    for number in range(CHIRPS):
        due = played.time_of((FIRST_S + number * PERIOD_S) * played.rate)
        first = max(0, recorded.sample(due - AROUND_S))
        echo = find(wave[first : recorded.sample(due + PERIOD_S - AROUND_S)], recorded.rate)
        if echo is not None:
            latencies.append(recorded.time_of(echo.at_s * recorded.rate + first) - due)
            gains.append(echo.gain_db - 20 * float(np.log10(LEVEL)))
    result = agreed(latencies, CHIRPS)
    lost = recorded.lost + played.lost
    if result is None:
        return Finding(
            Status.WARNING,
            f"nothing came back of {CHIRPS} chirps ({len(latencies)} uncertain)",
            "with headphones that is as it should be; else turn the speaker up, unmute the microphone, or name the"
            " right devices with --input and --output (voice-agent devices)",
            {"chirps_found": len(latencies), "xruns": lost},
        )
    latency_s, spread_s = result
    claimed_s = statistics.median(recorded.ages_s) + statistics.median(played.leads_s)
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
            "the answer is recorded so much later: use devices on a cable rather than Bluetooth, lower audio.latency_ms"
        )
        return Finding(Status.WARNING, text, advice, facts)
    return Finding(Status.OK, text, facts=facts)


DEADLINE_S = FIRST_S + CHIRPS * PERIOD_S + 15
assert LENGTH_S < PERIOD_S
