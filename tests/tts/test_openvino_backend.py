"""The voice in bfloat16. Where the processor has no tiles OpenVINO computes in float32, and the same must hold."""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
import threading
from types import ModuleType

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from voice_agent.clock import SYSTEM
from voice_agent.config import Config, TtsConfig, models
from voice_agent.errors import ConfigError, ModelError
from voice_agent.pipeline.model_loader import ModelLoader
from voice_agent.tts import openvino_backend as tiles
from voice_agent.tts import vits
from voice_agent.tts import vits_split as graph
from voice_agent.tts.vits import LOW_LATENCY_FRAMES, Delivery, Stop, Voice

pytestmark = pytest.mark.skipif(tiles.openvino() is None, reason="OpenVINO is not installed (Linux on x86-64 only)")

STILL = Delivery(noise_scale=0.0, noise_w=0.0)
TEXTS = [
    "No",
    "Sure,",
    "Sure, I can help you with that.",
    "The quick brown fox jumps over the lazy dog near the river bank, and then it turns around to look at the people"
    " who stand on the bridge.",
]


@pytest.fixture(scope="session")
def quick() -> Voice:
    return Voice.load(*models.piper("en_US-joe-medium"), runtime="openvino")


def joined(pieces: object) -> NDArray[np.float32]:
    return np.concatenate(list(pieces))  # type: ignore[call-overload]


def ids_of(voice: Voice, text: str) -> list[int]:
    return voice.phoneme_ids(text)[0]


def apart_db(exact: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    assert exact.shape == got.shape
    return float(10 * np.log10(np.square(exact).sum() / max(np.square(exact - got).sum(), 1e-12)))


def loudness(samples: NDArray[np.float32], bands: int = 32) -> NDArray[np.float32]:
    """dB in ``bands`` of a third of an octave or so, a row each 12 ms; what is 60 dB below the loudest is silence."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::256] * np.hanning(1024)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))
    edges = np.unique(np.geomspace(4, power.shape[1], bands + 1).astype(int))
    banded = np.stack([power[:, a:b].mean(axis=1) for a, b in itertools.pairwise(edges)], axis=1)
    decibels = 10 * np.log10(banded + 1e-12)
    levels: NDArray[np.float32] = np.maximum(decibels, decibels.max() - 60).astype(np.float32)
    return levels


@pytest.mark.parametrize("text", TEXTS)
def test_the_decoder_gives_the_samples_of_float32(voice: Voice, quick: Voice, text: str) -> None:
    """To 40 dB (measured: 40.3 to 40.6), the end included, behind which a run has columns that are not there."""
    prior = voice.prior(ids_of(voice, text), STILL)
    latent = voice._flow.run(voice._feed(voice._flow, prior, 0, prior.frames), Stop())[0]
    width = min(prior.frames, 60)  # not one of the widths
    feed = {voice._latent_name: latent[..., -width:]}
    exact, got = voice._decoder.run(feed, Stop())[0].reshape(-1), quick._decoder.run(feed, Stop())[0].reshape(-1)
    assert apart_db(exact, got) > 35
    end = slice(-quick.hop_samples * 11, None)
    assert np.abs(exact[end] - got[end]).max() < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize("text", TEXTS)
def test_it_sounds_as_in_float32(voice: Voice, quick: Voice, text: str) -> None:
    """The flow turns small differences of the latents into other phases, which nobody hears; so levels are compared.
    What bfloat16 changes in them is a small part of what the voice's own noise does from one time to the next."""
    prior = voice.prior(ids_of(voice, text))
    exact = loudness(joined(voice.decode(prior)))
    got = loudness(joined(quick.decode(prior)))
    other = voice.prior(ids_of(voice, text), Delivery(noise_w=0.0))
    again = voice.prior(ids_of(voice, text), Delivery(noise_w=0.0))
    own = np.abs(loudness(joined(voice.decode(other))) - loudness(joined(voice.decode(again)))).mean()
    assert np.abs(exact - got).mean() < own / 3


@pytest.mark.parametrize("sizes", [LOW_LATENCY_FRAMES, (), (1, 1, 2, 3, 5, 8), (7,) * 60])
@pytest.mark.parametrize("text", TEXTS)
def test_however_it_is_cut_it_is_one_sound(quick: Voice, text: str, sizes: tuple[int, ...]) -> None:
    prior = quick.prior(ids_of(quick, text))
    pieces = list(quick.decode(prior, sizes))
    whole = joined(quick.decode(prior, (prior.frames,)))
    assert whole.size == prior.frames * quick.hop_samples
    assert apart_db(whole, joined(pieces)) > 30
    if sizes and prior.frames > 64:
        # A piece may be longer than it was asked for, where a run has room for it, and is never longer than a run.
        assert sizes[0] <= pieces[0].size / quick.hop_samples <= quick._decoder.widths[-1]


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_half_says_the_same(voice: Voice, quick: Voice, text: str) -> None:
    exact, got = voice.prior(ids_of(voice, text), STILL), quick.prior(ids_of(quick, text), STILL)
    assert got.frames == pytest.approx(exact.frames, abs=3)  # a duration on the edge may be rounded up
    if got.frames == exact.frames:
        assert apart_db(exact.tensors[voice._prior_name], got.tensors[quick._prior_name]) > 25


def test_a_text_longer_than_any_width_is_said_too(voice: Voice, quick: Voice) -> None:
    ids = ids_of(voice, " ".join(["and a few more words"] * 25))
    assert len(ids) > vits._TILED_PHONEMES[-1]
    exact, got = voice.prior(ids, STILL), quick.prior(ids, STILL)
    assert np.array_equal(exact.tensors[voice._prior_name], got.tensors[quick._prior_name])
    samples = joined(quick.decode(got))
    assert samples.size == got.frames * quick.hop_samples
    assert np.isfinite(samples).all()


def test_words_have_their_times(quick: Voice) -> None:
    pieces = list(quick.speak("Four words are here."))
    assert [p.last for p in pieces] == [False] * (len(pieces) - 1) + [True]
    ends = [g.end_s for g in pieces[0].groups]
    assert len(ends) == 4
    assert ends == sorted(ends)
    assert ends[-1] <= sum(p.samples.size for p in pieces) / quick.sample_rate


def test_it_is_as_loud(voice: Voice, quick: Voice) -> None:
    assert quick._gain == pytest.approx(voice._gain, rel=0.15)


def test_several_threads_may_use_it(quick: Voice) -> None:
    priors = [quick.prior(ids_of(quick, text), STILL) for text in TEXTS]
    alone = [joined(quick.decode(prior)) for prior in priors]
    together: dict[int, list[NDArray[np.float32]]] = {n: [] for n in range(len(priors))}

    def speak(number: int) -> None:
        for _ in range(3):
            together[number].append(joined(quick.decode(priors[number])))

    threads = [threading.Thread(target=speak, args=(n,)) for n in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number, sounds in together.items():
        assert len(sounds) == 3
        assert all(np.array_equal(sound, alone[number]) for sound in sounds)


def test_a_stop_ends_it_between_two_windows(quick: Voice) -> None:
    stop, prior = Stop(), quick.prior(ids_of(quick, TEXTS[-1]), STILL)
    pieces = quick.decode(prior, stop=stop)
    next(pieces)
    stop.set()
    assert list(pieces) == []


def test_the_halves_are_the_whole() -> None:
    """The text part in two, both in float32, against the text part."""
    parts = graph.split(models.piper("en_US-joe-medium")[0].read_bytes())
    feed = {
        "input": np.array([[1, 0, 20, 0, 59, 0, 24, 0, 120, 0, 2]], np.int64),
        "input_lengths": np.array([11], np.int64),
        "scales": np.array([0.0, 1.0, 0.0], np.float32),
    }
    first, rest = graph.halves(parts.text)
    assert set(first.inputs) == {"input", "input_lengths"}
    assert rest.outputs == parts.text.outputs
    assert len(rest.model) < len(first.model) / 4

    def run(part: graph.Part) -> list[NDArray[np.float32]]:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        session = ort.InferenceSession(part.model, options, providers=["CPUExecutionProvider"])
        made: list[NDArray[np.float32]] = session.run(list(part.outputs), {n: feed[n] for n in part.inputs})
        return made

    whole = run(parts.text)
    feed[first.outputs[0]] = run(first)[0]
    for expected, got in zip(whole, run(rest), strict=True):
        assert np.allclose(expected, got, atol=1e-5)


def test_a_text_part_that_is_another_is_named() -> None:
    model = models.piper("en_US-joe-medium")[0].read_bytes()
    parts = graph.split(model.replace(b"enc_p.proj.weight", b"enc_p.prXj.weight"))
    with pytest.raises(ModelError, match=r"enc_p\.proj"):
        graph.halves(parts.text)


def test_nothing_is_reported_home() -> None:
    """OpenVINO's converter tells Google Analytics that it was imported. Who wants it still gets it."""
    code = (
        "import sys; from voice_agent.tts import openvino_backend as tiles; assert tiles.openvino() is not None;"
        "print([m for m in sys.modules if 'telemetry' in m and m.startswith('openvino')]);"
        "print('openvino.tools.ovc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_signals_on_the_main_thread_do_not_end_the_process() -> None:
    """They did where it had used tiles, faulthandler was on, and two came at once."""
    code = """
import faulthandler, os, signal
from voice_agent.config import models
from voice_agent.tts import Voice

faulthandler.enable()
list(Voice.load(*models.piper("en_US-joe-medium"), runtime="openvino").speak("Hello there."))
got = []
several = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD}
for one in several:
    signal.signal(one, lambda number, frame: got.append(number))
signal.pthread_sigmask(signal.SIG_BLOCK, several)
for one in several:
    os.kill(os.getpid(), one)
signal.pthread_sigmask(signal.SIG_UNBLOCK, several)
print(len(got))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


def another_make(_: graph.Part) -> tuple[graph.Part, graph.Part]:
    raise ModelError("no convolution enc_p.proj")


@pytest.mark.parametrize(
    ("where", "name", "value", "why"),
    [
        (vits, "_SOUND_AGREES_DB", 300.0, "samples come out as others"),
        (graph, "halves", another_make, "no convolution"),
    ],
)
def test_a_voice_that_does_not_run_the_same_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: ModuleType,
    name: str,
    value: object,
    why: str,
) -> None:
    monkeypatch.setattr(where, name, value)
    monkeypatch.setattr(vits, "has_tiles", lambda: True)
    with caplog.at_level(logging.WARNING, "voice_agent"):
        voice = Voice.load(*models.piper("en_US-joe-medium"), runtime="auto")
    assert why in caplog.text
    assert voice._halves is None
    assert voice._flow.widths == voice._decoder.widths == ()
    with pytest.raises(ModelError, match=r"tts\.runtime=onnx"):
        Voice.load(*models.piper("en_US-joe-medium"), runtime="openvino")


def test_without_tiles_or_openvino_auto_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vits, "has_tiles", lambda: False)
    assert Voice.load(*models.piper("en_US-joe-medium"), runtime="auto")._halves is None
    monkeypatch.setattr(vits, "has_tiles", lambda: True)
    monkeypatch.setattr(vits, "openvino", lambda: None)
    assert Voice.load(*models.piper("en_US-joe-medium"), runtime="auto")._halves is None


def test_without_openvino_asking_for_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "openvino", lambda: None)
    with pytest.raises(ModelError, match="not installed"):
        Voice.load(*models.piper("en_US-joe-medium"), runtime="openvino")
    with pytest.raises(ConfigError, match="auto, onnx, openvino"):
        Voice.load(*models.piper("en_US-joe-medium"), runtime="torch")


def test_the_configuration_knows_the_runtimes() -> None:
    assert Config(tts=TtsConfig(backend="openvino")).tts.backend in vits.RUNTIMES


@pytest.mark.parametrize(
    ("runtime", "several", "loaded_as"),
    [("auto", True, "auto"), ("auto", False, "onnx"), ("onnx", True, "onnx"), ("openvino", False, "openvino")],
)
def test_a_rooms_worker_takes_what_is_cheapest(
    monkeypatch: pytest.MonkeyPatch, runtime: str, several: bool, loaded_as: str
) -> None:
    """It costs memory and seconds at the start, which one conversation would not get back."""
    asked = list[str]()
    monkeypatch.setattr(Voice, "load", lambda *_, runtime: asked.append(runtime))
    config = Config(tts=TtsConfig(backend=runtime))
    ModelLoader(config, SYSTEM, several=several).voice("en_US-joe-medium")
    assert asked == [loaded_as]


def test_a_window_gives_what_there_is_room_for() -> None:
    class Runs:
        part = graph.Part(b"", (), (), reach_frames=11)
        widths: tuple[int, ...] = (25, 50, 118)

        def run(self, feed: object, stop: object) -> list[NDArray[np.float32]]:
            raise AssertionError

    runs = Runs()
    assert vits._window(runs, 0, 14, 300) == (0, 25, 14)
    assert vits._window(runs, 14, 42, 300) == (3, 53, 42)
    assert vits._window(runs, 42, 234, 300) == (31, 149, 138)  # less than was asked for
    assert vits._window(runs, 138, 160, 300) == (127, 177, 166)  # more than was asked for
    assert vits._window(runs, 280, 300, 300) == (269, 300, 300)
    runs.widths = ()
    assert vits._window(runs, 138, 160, 300) == (127, 171, 160)
