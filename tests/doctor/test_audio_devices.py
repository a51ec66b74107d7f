"""The sound checks, on numbers, and on a real sound server whose echo is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from voice_agent.config import AudioConfig
from voice_agent.doctor.audio_devices import devices, level, rate_level
from voice_agent.doctor.finding import Finding, Status
from voice_agent.doctor.portaudio_probe import PortAudioProbe
from voice_agent.doctor.round_trip import round_trip
from voice_agent.errors import AudioError
from voice_agent.microphone.sound_system import Callback, Device, Kind, Stream

MICROPHONE = Device(0, "Desk microphone", "ALSA", 1, 0, 16_000, default_input=True)
PROGRAM = """
import json
from voice_agent.config import AudioConfig
from voice_agent.doctor.audio_devices import devices, level
from voice_agent.doctor.round_trip import round_trip
config = AudioConfig(input="microphone", output="speaker", latency_ms=60)
found = [f for check in (devices, level, round_trip) for f in check(config)]
print(json.dumps([[f.status.value, f.text, dict(f.facts)] for f in found]))
"""


class Listed:
    """A sound system with these devices, none of which opens."""

    def __init__(self, *devices: Device) -> None:
        self._devices = list(devices)

    def devices(self) -> list[Device]:
        return self._devices

    def supports(self, device: Device, kind: Kind, rate: int, channels: int) -> bool:
        return True

    def open(
        self, device: Device, kind: Kind, *, rate: int, channels: int, block: int, latency_s: float, callback: Callback
    ) -> Stream:
        raise AudioError("it is busy; close the other program")

    def refresh(self) -> None:
        pass


def rated(wave: np.ndarray[Any, np.dtype[np.float64]]) -> Finding:
    return rate_level(wave, 16_000, MICROPHONE)


def noise(rms_db: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(np.random.default_rng(2).normal(0, 10 ** (rms_db / 20), 16_000))


class TestLevel:
    def test_a_quiet_room(self) -> None:
        found = rated(noise(-62))
        assert found.status is Status.OK
        assert found.facts["noise_floor_dbfs"] == pytest.approx(-62, abs=1.5)

    @pytest.mark.parametrize(
        ("wave", "said"),
        [
            (np.zeros(16_000), "digital silence"),
            (noise(-30), "loud for a pause"),
            (np.clip(noise(-6) * 3, -1, 1), "overdrives"),
        ],
    )
    def test_what_is_wrong_with_it(self, wave: np.ndarray[Any, np.dtype[np.float64]], said: str) -> None:
        found = rated(wave)
        assert found.status is Status.WARNING
        assert said in found.text
        assert found.advice

    def test_the_floor_is_that_of_the_pauses(self) -> None:
        wave = noise(-60)
        wave[4_000:8_000] += np.sin(np.arange(4_000) * 0.3) * 0.3
        found = rated(wave)
        assert found.status is Status.OK
        assert found.facts["noise_floor_dbfs"] == pytest.approx(-60, abs=1.5)
        assert found.facts["level_dbfs"] == pytest.approx(-13.5, abs=1)


def test_no_sound_card_is_a_warning_that_says_what_to_do() -> None:
    system = Listed()
    found = list(devices(AudioConfig(), system))
    assert [(f.name, f.status) for f in found] == [
        ("microphone", Status.WARNING),
        ("speaker", Status.WARNING),
    ]
    assert all("talk --demo" in f.advice for f in found)
    (loudness,), (trip,) = level(AudioConfig(), system), round_trip(AudioConfig(), system)
    assert (loudness.status, trip.status) == (Status.SKIPPED, Status.SKIPPED)


def test_a_microphone_without_a_speaker() -> None:
    microphone, speaker = devices(AudioConfig(), Listed(MICROPHONE))
    assert microphone.status is Status.OK
    assert "0 Desk microphone (ALSA), the default of 1; 16000 Hz, 1 ch" in microphone.text
    assert speaker.status is Status.WARNING
    (trip,) = round_trip(AudioConfig(), Listed(MICROPHONE))
    assert (trip.status, trip.text) == (Status.SKIPPED, "no speaker")
    with pytest.raises(AudioError, match="busy"):
        list(level(AudioConfig(), Listed(MICROPHONE)))


def test_a_sound_system_that_ends_the_process_does_not_end_the_doctor() -> None:
    probe = PortAudioProbe("import os; os.abort()")
    (found,) = probe()
    assert found.status is Status.WARNING
    assert "does not start (signal 6)" in found.text
    assert "talk --demo" in found.advice
    (after,) = probe.guarded(lambda: devices(AudioConfig(), Listed(MICROPHONE)))
    assert after.status is Status.SKIPPED
    (found,) = PortAudioProbe("raise OSError('PortAudio library not found')")()
    assert (found.status, found.text) == (Status.WARNING, "PortAudio is not installed")
    assert "libportaudio2" in found.advice
    working = PortAudioProbe("print('PortAudio V19, revision 1')")
    (found,) = working()
    assert (found.status, found.text) == (Status.OK, "PortAudio V19")
    assert len(list(working.guarded(lambda: devices(AudioConfig(), Listed(MICROPHONE))))) == 2


def test_the_probe_is_given_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "canary5b1e")
    monkeypatch.setenv("VOICE_AGENT_LLM_API_KEY", "canary5b1e")
    tell = "import os; print('canary5b1e' in ''.join(os.environ.values()), bool(os.environ.get('PATH')))"
    (found,) = PortAudioProbe(tell)()
    assert found.text == "False True"


def on_the_server(pulse: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """The sound checks in a process that sees this sound server only."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | pulse.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(status, text, facts) for status, text, facts in json.loads(done.stdout)]


@pytest.mark.e2e
def test_an_added_delay_is_found_back(pulse: Any) -> None:
    """The loopback's own delay is not exact, so the difference of two settings is what is known."""
    pulse.echo(delay_ms=80, gain_db=-6)
    near = on_the_server(pulse)[-1]
    number = next(line for line in pulse.pactl("list", "short", "modules").splitlines() if "module-loopback" in line)
    pulse.pactl("unload-module", number.split("\t")[0])
    pulse.echo(delay_ms=280, gain_db=-12)
    far = on_the_server(pulse)[-1]
    for status, text, facts in (near, far):
        assert status in ("ok", "warning"), text
        assert facts["chirps_found"] >= 3, text
    assert far[2]["round_trip_ms"] - near[2]["round_trip_ms"] == pytest.approx(200, abs=50)
    assert far[2]["gain_db"] - near[2]["gain_db"] == pytest.approx(-6, abs=2)
    assert near[2]["round_trip_ms"] > near[2]["reported_ms"]


@pytest.mark.e2e
def test_with_headphones_nothing_comes_back(pulse: Any) -> None:
    microphone, speaker, loudness, trip = on_the_server(pulse)
    assert (microphone[0], speaker[0]) == ("ok", "ok")
    assert "microphone" in microphone[1]
    assert loudness[0] == "warning"
    assert "digital silence" in loudness[1]
    assert trip[0] == "warning"
    assert "nothing came back of 4 chirps" in trip[1]
