from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from voice_agent.config import models
from voice_agent.errors import ModelError, SpeechError
from voice_agent.tts import LOW_LATENCY_FRAMES, Delivery, Stop, Voice
from voice_agent.tts.vits import load_config, speaker_id

TEXTS = [
    "Sure,",
    "Sure, I can help you with that.",
    "The quick brown fox jumps over the lazy dog near the river bank, and then it turns around to look at the people"
    " who stand on the bridge.",
    "A na\u00efve caf\u00e9, isn't it?",
]
STILL = Delivery(noise_scale=0.0, noise_w=0.0)
LSB = 1 / 32767


def joined(chunks: object) -> NDArray[np.float32]:
    return np.concatenate(list(chunks))  # type: ignore[call-overload]


@pytest.mark.parametrize("text", TEXTS)
def test_the_parts_give_the_samples_of_the_whole_graph(voice: Voice, text: str) -> None:
    """Piper's own, undivided graph, without noise, against text part + flow and decoder in chunks."""
    options = ort.SessionOptions()
    # As for the parts: other optimizations round otherwise, by up to 3 steps of 16 bits on these texts.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    path = str(models.piper("en_US-joe-medium")[0])
    whole = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for ids in voice.phoneme_ids(text):
        feed = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([0.0, voice.config.length_scale, 0.0], np.float32),
        }
        expected = whole.run(None, feed)[0].reshape(-1)
        got = joined(voice.windows.decode(voice.prior(ids, STILL)))
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= LSB


@pytest.mark.parametrize("sizes", [LOW_LATENCY_FRAMES, (), (1, 1, 2, 3, 5, 8), (7,) * 60])
@pytest.mark.parametrize("text", TEXTS[:3])
def test_the_size_of_the_windows_does_not_change_the_samples(voice: Voice, text: str, sizes: tuple[int, ...]) -> None:
    """With the voice's noise: it is drawn in the prior, which is the same for both."""
    prior = voice.prior(voice.phoneme_ids(text)[0])
    whole = joined(voice.windows.decode(prior, (prior.frames,)))
    chunks = list(voice.windows.decode(prior, sizes))
    assert whole.size == prior.frames * voice.windows.hop_samples
    assert np.abs(joined(chunks) - whole).max() <= LSB
    if sizes:
        assert chunks[0].size == sizes[0] * voice.windows.hop_samples


def test_speech_is_loud_enough_and_not_clipped(voice: Voice) -> None:
    chunks = list(voice.speak("Thank you very much. That is a good question."))
    assert [p.last for p in chunks] == [False] * (len(chunks) - 1) + [True]
    samples = np.concatenate([p.samples for p in chunks])
    assert samples.dtype == np.int16
    assert 32767 > np.abs(samples.astype(int)).max() > 8000
    assert 0.5 < samples.size / voice.sample_rate < 10


def test_slower_is_longer(voice: Voice) -> None:
    ids = voice.phoneme_ids("One moment, please.")[0]
    normal = voice.prior(ids, STILL).frames
    assert voice.prior(ids, Delivery(length_scale=2.0, noise_scale=0.0, noise_w=0.0)).frames > 1.5 * normal


@pytest.mark.parametrize("text", ["", " ", ".", "..."])
def test_a_text_without_sounds_is_no_sound(voice: Voice, text: str) -> None:
    assert list(voice.speak(text)) == []


@pytest.mark.parametrize("text", ["nul\x00l", "half \ud800 a pair"])
def test_what_espeak_refuses_is_named(voice: Voice, text: str) -> None:
    with pytest.raises(SpeechError, match="speakable"):
        list(voice.speak(text))


def test_too_long_a_sentence_is_named(voice: Voice) -> None:
    with pytest.raises(SpeechError, match="sentences"):
        list(voice.speak("word " * 1000))


def test_a_stop_ends_the_work_in_the_middle_of_a_chunk(voice: Voice) -> None:
    stop, got, started = Stop(), list[int](), threading.Event()
    text = " and ".join(["a rather long text"] * 20)

    def work() -> None:
        for piece in voice.speak(text, STILL, stop=stop):
            got.append(piece.samples.size)
            started.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(30)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert stop.is_set
    whole = voice.prior(voice.phoneme_ids(text)[0], STILL).frames * voice.windows.hop_samples
    assert 0 < sum(got) < whole / 2


def test_nothing_is_said_after_a_stop(voice: Voice) -> None:
    stop = Stop()
    stop.set()
    assert list(voice.speak("Too late.", stop=stop)) == []
    assert sum(p.samples.size for p in voice.speak("The next one is not affected.")) > 0


def test_a_speaker_that_is_not_there_is_named(voice: Voice) -> None:
    assert speaker_id(voice.config, None) == 0
    assert speaker_id(voice.config, 0) == 0
    for number in (-1, 1):
        with pytest.raises(SpeechError, match="count from 0"):
            speaker_id(voice.config, number)


def test_broken_files_are_named(tmp_path: Path) -> None:
    model, config = models.piper("en_US-joe-medium")
    with pytest.raises(ModelError, match="cannot read"):
        Voice.load(tmp_path / "absent.onnx", config)
    with pytest.raises(ModelError, match="cannot read"):
        Voice.load(model, tmp_path / "absent.json")
    for content in ("", "[]", "{}", json.dumps({"audio": 1})):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ModelError, match="configuration"):
            load_config(tmp_path / "bad.json")
    (tmp_path / "picture.onnx").write_bytes(b"\x89PNG\r\n\x1a\n" * 100)
    with pytest.raises(ModelError, match=r"ONNX|graph"):
        Voice.load(tmp_path / "picture.onnx", config)
