"""A voice on OpenVINO against the same voice in float32. On a processor without AMX both compute in float32."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_agent.config import models
from voice_agent.tts import LOW_LATENCY_FRAMES, Delivery, Stop, Voice, openvino_backend

pytestmark = pytest.mark.skipif(
    openvino_backend.openvino() is None, reason="needs OpenVINO: pip install 'voice-agent[openvino]'"
)

STILL = Delivery(noise_scale=0.0, noise_w=0.0)
TEXTS = [
    "No",
    "Sure,",
    "Sure, I can help you with that.",
    "The quick brown fox jumps over the lazy dog near the river bank, and then it turns around to look at the people"
    " who stand on the bridge.",
]


@pytest.fixture(scope="session")
def fast() -> Voice:
    return Voice.load(*models.piper("en_US-joe-medium"), backend="openvino")


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
def test_the_decoder_gives_the_samples_of_float32(voice: Voice, fast: Voice, text: str) -> None:
    """To 40 dB (measured: 40.3 to 40.6), the end included, behind which a run has columns that are not there."""
    prior = voice.prior(ids_of(voice, text), STILL)
    latent = voice.windows.flow.run(voice.windows.feed(voice.windows.flow, prior, 0, prior.frames), Stop())[0]
    width = min(prior.frames, 60)  # not one of the widths
    feed = {voice.windows.latent_name: latent[..., -width:]}
    exact, got = (
        voice.windows.decoder.run(feed, Stop())[0].reshape(-1),
        fast.windows.decoder.run(feed, Stop())[0].reshape(-1),
    )
    assert apart_db(exact, got) > 35
    end = slice(-fast.windows.hop_samples * 11, None)
    assert np.abs(exact[end] - got[end]).max() < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize("text", TEXTS)
def test_it_sounds_as_in_float32(voice: Voice, fast: Voice, text: str) -> None:
    """The flow turns small differences of the latents into other phases, which nobody hears; so levels are compared.
    What bfloat16 changes in them is a small part of what the voice's own noise does from one time to the next."""
    prior = voice.prior(ids_of(voice, text))
    exact = loudness(joined(voice.windows.decode(prior)))
    got = loudness(joined(fast.windows.decode(prior)))
    other = voice.prior(ids_of(voice, text), Delivery(noise_w=0.0))
    again = voice.prior(ids_of(voice, text), Delivery(noise_w=0.0))
    own = np.abs(loudness(joined(voice.windows.decode(other))) - loudness(joined(voice.windows.decode(again)))).mean()
    assert np.abs(exact - got).mean() < own / 3


@pytest.mark.parametrize("sizes", [LOW_LATENCY_FRAMES, (), (1, 1, 2, 3, 5, 8), (7,) * 60])
@pytest.mark.parametrize("text", TEXTS)
def test_the_size_of_the_windows_does_not_change_the_audio(fast: Voice, text: str, sizes: tuple[int, ...]) -> None:
    prior = fast.prior(ids_of(fast, text))
    chunks = list(fast.windows.decode(prior, sizes))
    whole = joined(fast.windows.decode(prior, (prior.frames,)))
    assert whole.size == prior.frames * fast.windows.hop_samples
    assert apart_db(whole, joined(chunks)) > 30
    if sizes and prior.frames > 64:
        # A chunk may be longer than asked, where a run has room for it, and is never longer than a run.
        assert sizes[0] <= chunks[0].size / fast.windows.hop_samples <= fast.windows.decoder.widths[-1]


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_encoder_gives_the_same(voice: Voice, fast: Voice, text: str) -> None:
    exact, got = voice.prior(ids_of(voice, text), STILL), fast.prior(ids_of(fast, text), STILL)
    assert got.frames == pytest.approx(exact.frames, abs=3)  # a duration on the edge may be rounded up
    if got.frames == exact.frames:
        assert apart_db(exact.tensors[voice.windows.prior_name], got.tensors[fast.windows.prior_name]) > 25


def test_a_text_longer_than_any_width_is_spoken_too(voice: Voice, fast: Voice) -> None:
    ids = ids_of(voice, " ".join(["and a few more words"] * 25))
    assert len(ids) > openvino_backend.ENCODER_PHONEMES[-1]
    exact, got = voice.prior(ids, STILL), fast.prior(ids, STILL)
    assert np.array_equal(exact.tensors[voice.windows.prior_name], got.tensors[fast.windows.prior_name])
    samples = joined(fast.windows.decode(got))
    assert samples.size == got.frames * fast.windows.hop_samples
    assert np.isfinite(samples).all()


def test_words_have_their_times(fast: Voice) -> None:
    chunks = list(fast.speak("Four words are here."))
    assert [p.last for p in chunks] == [False] * (len(chunks) - 1) + [True]
    ends = [g.end_s for g in chunks[0].groups]
    assert len(ends) == 4
    assert ends == sorted(ends)
    assert ends[-1] <= sum(p.samples.size for p in chunks) / fast.sample_rate


def test_it_is_as_loud(voice: Voice, fast: Voice) -> None:
    assert fast.gain == pytest.approx(voice.gain, rel=0.15)


def test_several_threads_may_use_it(fast: Voice) -> None:
    priors = [fast.prior(ids_of(fast, text), STILL) for text in TEXTS]
    alone = [joined(fast.windows.decode(prior)) for prior in priors]
    together: dict[int, list[NDArray[np.float32]]] = {n: [] for n in range(len(priors))}

    def speak(number: int) -> None:
        for _ in range(3):
            together[number].append(joined(fast.windows.decode(priors[number])))

    threads = [threading.Thread(target=speak, args=(n,)) for n in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number, sounds in together.items():
        assert len(sounds) == 3
        assert all(np.array_equal(sound, alone[number]) for sound in sounds)


def test_a_stop_ends_it_between_two_windows(fast: Voice) -> None:
    stop, prior = Stop(), fast.prior(ids_of(fast, TEXTS[-1]), STILL)
    chunks = fast.windows.decode(prior, stop=stop)
    next(chunks)
    stop.set()
    assert list(chunks) == []
