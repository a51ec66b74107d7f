"""The microphone on a real sound server: PortAudio, ALSA, PulseAudio, a virtual loudspeaker and microphone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from livekit.agents.voice.io import PlaybackFinishedEvent

from tests.support.likeness import share_found
from tests.support.pulse import RATE, Pulse, place, running
from voice_agent.audio.files import read_audio
from voice_agent.audio.resampling import resample
from voice_agent.audio.samples import CAPTURED_AT
from voice_agent.audio.timeline import RECORD_RATE
from voice_agent.config import AudioConfig
from voice_agent.errors import UsageError
from voice_agent.microphone.microphone import Microphone
from voice_agent.microphone.open_microphone import open_microphone
from voice_agent.microphone.portaudio import PortAudio

pytestmark = pytest.mark.e2e

Int16 = npt.NDArray[np.int16]
STT_RATE = 16_000
WHOLE = 0.75  # of a signal's pieces: virtual devices without real-time rights drop some on a busy machine
PLAIN = AudioConfig(input="microphone", output="speaker", aec=False, noise_suppression=False, gain_control=False)


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pulse]:
    with running() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        PortAudio().refresh()  # it lists the devices of the server that it found when it was imported
        yield server


@dataclass
class Call:
    audible: list[float] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    frames: list[rtc.AudioFrame] = field(default_factory=list)
    finished: list[PlaybackFinishedEvent] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def open(self, settings: AudioConfig, record: Path | None = None) -> AsyncIterator[Microphone]:
        async with open_microphone(
            settings,
            on_audible=self.audible.append,
            on_gaps=lambda n, ms: self.gaps.append((n, ms)),
            on_event=self.events.append,
            record=record,
        ) as mic:
            mic.output.on("playback_finished", self.finished.append)
            listening = asyncio.create_task(self._listen(mic))
            try:
                yield mic
            finally:
                listening.cancel()

    async def _listen(self, mic: Microphone) -> None:
        async for frame in mic.input:
            self.frames.append(frame)

    def heard(self) -> Int16:
        return np.concatenate([np.frombuffer(f.data, np.int16) for f in self.frames])


async def speak(mic: Microphone, pcm: Int16, rate: int = STT_RATE) -> None:
    step = rate // 5
    for i in range(0, len(pcm), step):
        piece = pcm[i : i + step]
        await mic.output.capture_frame(rtc.AudioFrame(piece.tobytes(), rate, 1, len(piece)))
    mic.output.flush()


def raw(path: Path) -> Int16:
    data = path.read_bytes()
    return np.frombuffer(data[: len(data) // 2 * 2], np.int16)


async def test_the_input_is_what_was_said(pulse: Pulse, speech: Path) -> None:
    said = read_audio(speech / "sense01.wav").samples
    call = Call()
    async with call.open(PLAIN) as mic:
        await asyncio.sleep(0.5)
        pulse.say(said, STT_RATE)
        await asyncio.sleep(len(said) / STT_RATE + 1.5)
        lost = mic.input_xruns
    heard = call.heard()
    share = share_found(said, heard, STT_RATE)
    energy = np.sum(heard.astype(float) ** 2) / np.sum(said.astype(float) ** 2)
    loud = np.flatnonzero(np.abs(heard.astype(int)) > 300)
    length, true = (
        (int(loud[-1] - loud[0]) / STT_RATE),
        np.ptp(np.flatnonzero(np.abs(said.astype(int)) > 300)) / STT_RATE,
    )
    print(f"found {share:.0%}, level {10 * np.log10(energy):+.2f} dB, {length:.2f} s of {true:.2f} s, lost {lost}")
    assert share >= WHOLE
    assert energy == pytest.approx(1.0, abs=0.2)
    assert length == pytest.approx(true, rel=0.25)  # a busy machine stretches it
    captured = [f.userdata[CAPTURED_AT] for f in call.frames]
    span = captured[-1] - captured[0]
    samples = sum(f.samples_per_channel for f in call.frames[1:])  # a frame is longer where the loop was late
    print(f"{len(captured)} frames span {span:.3f} s")
    assert span == pytest.approx(samples / STT_RATE, abs=0.1)


async def test_what_the_agent_says_is_what_is_heard_and_when(pulse: Pulse, speech: Path, tmp_path: Path) -> None:
    """The loudspeaker is heard by the microphone at once (0 dB): its first audible sample, as reported, is captured
    then. That ties both ends' time marks to each other over the real devices."""
    said = resample(read_audio(speech / "ask01.wav").samples, STT_RATE, 22_050)
    call = Call()
    pulse.echo(delay_ms=20, gain_db=0)
    pulse.record("speaker.monitor", tmp_path / "speaker.raw")
    record = tmp_path / "both.wav"
    async with call.open(PLAIN, record) as mic:
        await asyncio.sleep(1.0)
        await speak(mic, said, 22_050)
        played = await asyncio.wait_for(mic.output.wait_for_playout(), 20)
        await asyncio.sleep(0.5)
        user, agent = (
            mic.timeline.user.read(0, mic.timeline.user.end),
            mic.timeline.agent.read(0, mic.timeline.agent.end),
        )
        started_at = mic.timeline.started_at
    assert not played.interrupted
    assert played.playback_position == pytest.approx(len(said) / 22_050, abs=0.001)
    heard = raw(tmp_path / "speaker.raw")
    share = share_found(resample(said, 22_050, RATE), heard, RATE)
    print(f"the loudspeaker's monitor: found {share:.0%}")
    assert share >= WHOLE
    onset = int(np.flatnonzero(np.abs(agent.astype(int)) > 300)[0]) / RECORD_RATE
    assert onset == pytest.approx(call.audible[0] - started_at, abs=0.02)
    clip = resample(said, 22_050, RECORD_RATE)
    out_at, in_at = place(clip, agent), place(clip, user)
    late_ms = (in_at - out_at) / RECORD_RATE * 1000
    print(f"heard in the microphone {late_ms:.0f} ms after it was played, by both time marks")
    assert -30 < late_ms < 200


async def test_an_interruption_is_soon_silent_and_knows_its_place(pulse: Pulse, speech: Path, tmp_path: Path) -> None:
    said = read_audio(speech / "sense01.wav").samples
    call = Call()
    pulse.record("speaker.monitor", tmp_path / "speaker.raw")
    async with call.open(PLAIN) as mic:
        await asyncio.sleep(0.5)
        await speak(mic, said)
        await asyncio.sleep(1.0)
        mic.output.pause()
        await asyncio.sleep(0.7)
        mic.output.resume()
        await asyncio.sleep(1.0)
        mic.output.clear_buffer()
        event = await asyncio.wait_for(mic.output.wait_for_playout(), 5)
        await asyncio.sleep(0.7)
    assert event.interrupted
    heard = raw(tmp_path / "speaker.raw")
    loud = np.flatnonzero(np.abs(heard.astype(int)) > 300)
    # The last thing that is on the monitor: where in the clip is it? (Before the fade, which takes 10 ms.)
    last = heard[loud[-1] - RATE // 3 : loud[-1] - RATE // 50]
    stopped_s = (place(last, resample(said, STT_RATE, RATE)) + len(last)) / RATE + 0.02
    print(f"reported {event.playback_position:.3f} s; the monitor stops at {stopped_s:.3f} s of the clip")
    assert stopped_s - 0.05 <= event.playback_position <= stopped_s + 0.3  # it may stop between two words
    assert event.playback_position < len(said) / STT_RATE - 1


async def test_the_agent_does_not_hear_itself(pulse: Pulse, speech: Path) -> None:
    """The loudspeaker comes back 80 ms late and 6 dB softer; after 3 s of speech, 20 dB less of it are left."""
    said = np.concatenate([read_audio(speech / f"{n}.wav").samples for n in ("ask01", "sense01", "sense03")])
    powers: dict[bool, list[float]] = {}
    pulse.echo(delay_ms=80, gain_db=-6)
    loud = 0
    for aec in (False, True):
        call = Call()
        settings = AudioConfig(
            input="microphone", output="speaker", aec=aec, noise_suppression=False, gain_control=False
        )
        async with call.open(settings) as mic:
            await asyncio.sleep(0.5)
            await speak(mic, said)
            await asyncio.wait_for(mic.output.wait_for_playout(), 60)
            print(f"aec {aec}: lost {mic.input_xruns} in, {mic.output_xruns} out, gaps {call.gaps}")
        heard = call.heard().astype(float)
        if not aec:  # with it nothing may be left to find a beginning by; both calls have the same timing
            loud = int(np.flatnonzero(np.abs(heard) > 300)[0])
        after = heard[loud + 3 * STT_RATE : loud + 9 * STT_RATE].reshape(-1, STT_RATE // 2)  # windows of 0.5 s
        powers[aec] = [float(np.mean(window**2)) for window in after]
    fallen_db = float(np.median(10 * np.log10(np.array(powers[False]) / (np.array(powers[True]) + 1e-3))))
    print(f"echo fell by {fallen_db:.1f} dB (median of {len(powers[True])} windows)")
    assert fallen_db >= 20


async def test_both_devices_are_unplugged_in_mid_reply(pulse: Pulse, speech: Path, tmp_path: Path) -> None:
    said = read_audio(speech / "sense01.wav").samples
    call = Call()
    async with call.open(PLAIN) as mic:
        await asyncio.sleep(0.3)
        await speak(mic, said)
        await asyncio.sleep(1.5)
        pulse.unplug()
        await asyncio.sleep(1.5)
        assert call.finished == []
        assert "is gone; the call is paused" in call.events[-1]
        pulse.plug_in()
        pulse.record("speaker.monitor", tmp_path / "again.raw")
        event = await asyncio.wait_for(mic.output.wait_for_playout(), 30)
        before = len(call.frames)
        await asyncio.sleep(0.5)
        assert len(call.frames) > before + 20  # the microphone is back too
    assert any("the call goes on" in text for text in call.events)
    assert not event.interrupted
    assert event.playback_position == pytest.approx(len(said) / STT_RATE, abs=0.001)
    # The end of the reply, from what was not heard before it went, came out of the new device.
    end = resample(said[3 * STT_RATE :], STT_RATE, RATE)
    share = share_found(end, raw(tmp_path / "again.raw"), RATE)
    print(f"the rest of the reply, on the device that came back: found {share:.0%}")
    assert share >= WHOLE


async def test_a_name_that_fits_nothing(pulse: Pulse) -> None:
    with pytest.raises(UsageError, match=r"'nothing'.*microphone"):
        async with Call().open(AudioConfig(input="nothing")):
            raise AssertionError("it was opened")


class TestVerb:
    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "voice_agent.cli", "devices", *args],
            env=os.environ | env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def test_the_devices_are_listed(self, pulse: Pulse) -> None:
        done = self.run("--json")
        assert done.returncode == 0, done.stderr
        rows = {row["name"]: row for row in json.loads(done.stdout)}
        assert rows.keys() >= {"speaker", "microphone", "default"}
        assert rows["default"]["default_input"]
        assert rows["microphone"]["rates_hz"]["input"] == [16_000, 24_000, 44_100, 48_000]
        done = self.run()
        assert "microphone" in done.stdout
        assert done.stderr == ""

    def test_a_machine_without_sound(self, tmp_path: Path) -> None:
        if Path("/proc/asound").exists():
            pytest.skip("this machine has a sound card")
        done = self.run(PULSE_SERVER=f"unix:{tmp_path}/none")
        assert done.returncode == 2
        assert "talk --demo" in done.stderr
        assert "Traceback" not in done.stderr
