"""tiny.en and the recorded clips, loaded once for all STT tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from voice_agent.audio.files import read_audio
from voice_agent.config import models
from voice_agent.stt import FastWhisperSTT, WhisperEngine

from .recorded_clips import Int16, RecordedClip


@pytest.fixture(scope="session")
def clips(speech: Path) -> dict[str, RecordedClip]:
    found = {}
    for path in sorted(speech.glob("*.json")):
        info = json.loads(path.read_text())
        if isinstance(info, dict):
            audio = read_audio(speech / info["file"])
            assert audio.sample_rate == 16_000
            found[path.stem] = RecordedClip(path.stem, audio.samples, info["text"], info["end_s"], info["synthetic"])
    assert len(found) >= 9
    return found


@pytest.fixture(scope="session")
def read(clips: dict[str, RecordedClip]) -> list[RecordedClip]:
    """The clips read by a person."""
    return [clip for clip in clips.values() if not clip.synthetic]


@pytest.fixture(scope="session")
def engine() -> Iterator[WhisperEngine]:
    """tiny.en, used from one thread at a time, as everywhere."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(WhisperEngine, models.whisper("tiny.en")).result()


@pytest.fixture
async def whisper(engine: WhisperEngine) -> AsyncIterator[FastWhisperSTT]:
    """A streaming STT on the shared engine."""
    made = FastWhisperSTT("tiny.en", engine=engine)
    yield made
    await made.aclose()


@pytest.fixture(scope="session")
def noises() -> dict[str, Int16]:
    """Two seconds each of what is no speech, at levels of a call."""
    rng = np.random.default_rng(7)
    n = 2 * 16_000
    t = np.arange(n) / 16_000
    white = rng.normal(size=n)
    spectrum = np.fft.rfft(rng.normal(size=n))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), n)
    pink /= np.std(pink)
    hum = np.sin(2 * np.pi * 50 * t) + 0.5 * np.sin(2 * np.pi * 100 * t) + 0.25 * np.sin(2 * np.pi * 150 * t)
    notes = np.array([261.63, 329.63, 392.0, 523.25])[(t * 4).astype(int) % 4]
    phase = 2 * np.pi * np.cumsum(notes) / 16_000
    music = sum(np.sin(k * phase) / k for k in (1, 2, 3)) * np.exp(-3 * (t * 4 % 1))
    breath = np.convolve(rng.normal(size=n), np.ones(8) / 8, "same") * np.clip(np.sin(2 * np.pi * 0.5 * t), 0, 1) ** 2
    sounds = {
        "silence": np.zeros(n),
        "faint white noise": 0.001 * white,
        "white noise": 0.03 * white,
        "pink noise": 0.05 * pink,
        "mains hum": 0.1 * hum,
        "music": 0.15 * music,
        "breath": 0.1 * breath,
    }
    return {name: (np.clip(x, -1, 1) * 32767).astype(np.int16) for name, x in sounds.items()}
