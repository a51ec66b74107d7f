from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from voice_agent.audio.files import read_audio
from voice_agent.audio.resampling import resample
from voice_agent.config import AudioConfig
from voice_agent.microphone.audio_processing import FRAME, RATE, AudioProcessing

Int16 = npt.NDArray[np.int16]


def clips(speech: Path, *names: str) -> Int16:
    return np.concatenate([read_audio(speech / f"{name}.wav").samples for name in names])


def through(processing: AudioProcessing, near: Int16, far: Int16, far_rate: int) -> Int16:
    """Both sides, 10 ms at a time."""
    out, step = [], far_rate // 100
    for i in range(len(near) // FRAME):
        processing.far(far[i * step : (i + 1) * step])
        out.append(processing.near(near[i * FRAME : (i + 1) * FRAME], 0.08))
    return np.concatenate(out)


def delay(before: Int16, after: Int16) -> int:
    size = 2 * len(before)
    spectrum = np.conj(np.fft.rfft(before, size)) * np.fft.rfft(after, size)
    return int(np.argmax(np.fft.irfft(spectrum)[: RATE // 10]))


@pytest.mark.parametrize("aec", [False, True])
@pytest.mark.parametrize("noise", [False, True])
def test_its_delay_is_known(speech: Path, aec: bool, noise: bool) -> None:
    """``captured_at`` takes it off, so a new LiveKit that has another delay must be noticed."""
    pcm = clips(speech, "sense01")
    processing = AudioProcessing(AudioConfig(aec=aec, noise_suppression=noise, gain_control=True), 48_000)
    out = through(processing, pcm, np.zeros(3 * len(pcm), np.int16), 48_000)
    assert delay(pcm[: len(out)], out) == pytest.approx(processing.delay_s * RATE, abs=16)


def test_nothing_switched_on_changes_nothing(speech: Path) -> None:
    pcm = clips(speech, "ask02")
    processing = AudioProcessing(AudioConfig(aec=False, noise_suppression=False, gain_control=False), 48_000)
    assert not processing.active
    assert processing.delay_s == 0
    out = through(processing, pcm, np.zeros(3 * len(pcm), np.int16), 48_000)
    assert (out == pcm[: len(out)]).all()


@pytest.mark.parametrize("far_rate", [48_000, 44_100, 16_000])
def test_the_echo_goes(speech: Path, far_rate: int) -> None:
    """The agent alone is heard, 80 ms late and 6 dB softer: 20 dB less of it are left once it has converged (2 s)."""
    played = clips(speech, "ask01", "sense01", "sense02")
    late = RATE * 80 // 1000
    echo = np.concatenate([np.zeros(late, np.int16), (played * 0.5).astype(np.int16)])[: len(played)]
    settings = AudioConfig(noise_suppression=False, gain_control=False)
    out = through(AudioProcessing(settings, far_rate), echo, resample(played, RATE, far_rate), far_rate)
    begin = 2 * RATE
    left_db = 20 * np.log10(out[begin:].astype(float).std() / echo[begin : len(out)].astype(float).std())
    print(f"echo left at {far_rate} Hz: {left_db:.1f} dB")
    assert left_db < -20


def test_the_user_stays(speech: Path) -> None:
    user = clips(speech, "sense01")
    out = through(AudioProcessing(AudioConfig(), 48_000), user, np.zeros(3 * len(user), np.int16), 48_000)
    assert out.astype(float).std() > 0.5 * user.astype(float).std()


@pytest.mark.parametrize("settings", [AudioConfig(), AudioConfig(aec=False)])
def test_several_frames_at_once_are_cleaned_as_one_by_one(speech: Path, settings: AudioConfig) -> None:
    """The samples are the same; fewer calls are what is gained."""
    played = clips(speech, "ask01", "sense01")
    near, far = (played * 0.5).astype(np.int16), resample(played, RATE, 48_000)
    outs = []
    for size in (FRAME, 3 * FRAME):
        processing, out = AudioProcessing(settings, 48_000), []
        for i in range(0, len(near) // (3 * FRAME) * 3 * FRAME, 3 * FRAME):
            for at in range(i, i + 3 * FRAME, size):
                processing.far(far[3 * at : 3 * (at + size)])
            out += [processing.near(near[at : at + size], 0.08) for at in range(i, i + 3 * FRAME, size)]
        outs.append(np.concatenate(out))
    assert outs[0].any()
    assert np.array_equal(outs[0], outs[1])


def test_a_rate_without_whole_frames_goes_without_echo_cancellation() -> None:
    processing = AudioProcessing(AudioConfig(), 11_025)
    assert not processing.aec
    processing.far(np.zeros(1000, np.int16))
    assert len(processing.near(np.zeros(FRAME, np.int16), 0.0)) == FRAME
