"""What is done to the user's sound is what the script says, and the same for the same seed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from voice_agent.audio.files import read_audio
from voice_agent.audio.samples import Int16
from voice_agent.testing.harness.speech_bounds import speech_span
from voice_agent.testing.scenario import stimulus
from voice_agent.testing.scenario.script_file import parse
from voice_agent.testing.scenario.user_schema import Loss, Noise, Perturb
from voice_agent.testing.scenario.utterances import UtteranceSource, trimmed


def tone(hertz: float, seconds: float = 1.0, level: float = 8000.0) -> Int16:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 16_000)) / 16_000)).astype(np.int16)


def power_at(pcm: Int16, hertz: float) -> float:
    spectrum = np.abs(np.fft.rfft(pcm.astype(np.float64) * np.hanning(len(pcm))))
    return float(spectrum[round(hertz * len(pcm) / 16_000)])


@pytest.mark.parametrize("kind", ["white", "pink", "babble"])
@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_noise_is_as_loud_as_the_ratio_says(kind: str, snr: float) -> None:
    pcm = np.concatenate([tone(440, 1.0), np.zeros(16_000, np.int16)])  # the pause must not count as quiet speech
    other = tone(200, 3.0, 500)
    noisy = stimulus.add_noise(pcm, Noise(snr=snr, kind=kind), np.random.default_rng(1), other)  # type: ignore[arg-type]
    noise = noisy.astype(np.float64) - pcm
    measured = 20 * np.log10(np.sqrt(np.mean(pcm[:16_000].astype(float) ** 2)) / np.sqrt(np.mean(noise**2)))
    assert measured == pytest.approx(snr, abs=0.3)


def test_pink_falls_with_frequency() -> None:
    pink = stimulus.noise_samples("pink", 1 << 16, np.random.default_rng(0), None)
    power = np.abs(np.fft.rfft(pink)) ** 2
    octaves = [power[i : 2 * i].mean() for i in (64, 256, 1024, 4096)]
    falls = [a / b for a, b in itertools.pairwise(octaves)]
    assert all(2.5 < fall < 6 for fall in falls)  # 1/f: a quarter, two octaves up


def test_the_telephone_takes_away_what_lies_outside_its_band() -> None:
    mixed = (tone(100) // 2 + tone(1000) // 2 + tone(5000) // 2).astype(np.int16)
    heard = stimulus.phone(mixed)
    assert len(heard) == len(mixed)
    assert power_at(heard, 1000) > 0.8 * power_at(mixed, 1000)
    assert power_at(heard, 100) < 0.05 * power_at(mixed, 100)
    assert power_at(heard, 5000) < 0.05 * power_at(mixed, 5000)


def test_speed_and_gain() -> None:
    assert len(stimulus.speed(tone(440), 1.25)) == pytest.approx(12_800, abs=2)
    assert np.abs(stimulus.gain(tone(440), -6.0)).max() == pytest.approx(4000, rel=0.02)
    assert stimulus.gain(tone(440), 40.0).max() == 32767  # clipped, not wrapped


def test_lost_packets_are_counted_and_concealed() -> None:
    pcm = np.full(320 * 1000, 1000, np.int16)
    silent = stimulus.lose(pcm, Loss(rate=0.1, conceal="silence"), np.random.default_rng(3)).reshape(-1, 320)
    lost = (silent == 0).all(axis=1).mean()
    assert lost == pytest.approx(0.1, abs=0.03)
    repeated = stimulus.lose(pcm, Loss(rate=0.1), np.random.default_rng(3)).reshape(-1, 320)
    assert (repeated.max(axis=1) == 500).any()
    assert len(stimulus.lose(pcm[:777], Loss(rate=0.5), np.random.default_rng(0))) == 777
    late = stimulus.lose(
        pcm, Loss.model_validate({"rate": 0, "jitter": "60ms", "conceal": "silence"}), np.random.default_rng(3)
    )
    assert (late.reshape(-1, 320) == 0).all(axis=1).mean() == pytest.approx(0.317, abs=0.05)  # beyond one sigma


def test_keys_are_two_tones_each() -> None:
    pcm = stimulus.dtmf("5")
    for hertz in (770, 1336):
        assert power_at(pcm[:1920], hertz) > 10 * power_at(pcm[:1920], 1100)


def test_the_same_seed_gives_the_same_samples(speech: Path) -> None:
    pcm = read_audio(speech / "ask02.wav").samples
    how = Perturb(noise=Noise(snr=5.0, kind="white"), loss=Loss(rate=0.1), phone=True)
    one, two, other = (stimulus.perturb(pcm, how, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_an_utterance_has_its_pauses_and_the_end_of_the_clean_speech(speech: Path) -> None:
    text = f"""
turns:
  - audio: [{speech}/lead06.wav, {{hold: 1.1s}}, {speech}/rest06.wav]
  - say: hello
    perturb: {{noise: {{snr: 0dB, kind: white}}}}
"""
    script = parse(text, Path("x.voice.yaml"))
    said: list[tuple[str, str]] = []
    hello = read_audio(speech / "ask02.wav").samples

    def say(voice: str, words: str) -> Int16:
        said.append((voice, words))
        return hello

    utterance_source = UtteranceSource("joe", say)
    first, second = script.scenario.turns
    one = utterance_source.utterance(script, first, Perturb(), (0,))
    parts = [len(read_audio(speech / f"{name}.wav").samples) for name in ("lead06", "rest06")]
    assert len(one.pcm) == sum(parts) + round((1.1 + 0.24) * 16_000)
    assert not one.synthetic
    assert second.perturb is not None
    noisy = utterance_source.utterance(script, second, second.perturb, (0,))
    utterance_source.utterance(script, second, second.perturb, (1,))
    assert said == [("joe", "hello")]  # spoken once
    assert noisy.synthetic
    clean = speech_span(np.concatenate([np.zeros(1920, np.int16), trimmed(hello), np.zeros(1920, np.int16)]))
    assert (noisy.start_s, noisy.end_s) == clean


def test_a_pause_is_as_long_as_the_script_says() -> None:
    voice = np.concatenate([np.zeros(4000, np.int16), tone(440, 0.5), np.full(6000, 20, np.int16)])
    assert len(trimmed(voice)) == pytest.approx(8000 + 640, abs=40)
    assert len(trimmed(np.zeros(100, np.int16))) == 100
