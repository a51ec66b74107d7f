from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from voice_agent.config import models
from voice_agent.errors import ModelError
from voice_agent.tts import vits_split
from voice_agent.tts.vits_split import Part


@pytest.fixture(scope="module")
def model() -> bytes:
    return models.piper("en_US-joe-medium")[0].read_bytes()


def test_a_piper_voice_is_cut_where_it_is_narrow(model: bytes) -> None:
    parts = vits_split.split(model)
    assert set(parts.text.inputs) == {"input", "input_lengths", "scales"}
    assert parts.prior in parts.text.outputs
    assert parts.flow.outputs == (parts.latent,)
    assert set(parts.decoder.inputs) == {parts.latent}
    assert parts.decoder.outputs == ("output",)
    # no weight twice, none lost but what only the whole needed
    assert sum(len(p.model) for p in (parts.text, parts.flow, parts.decoder)) == pytest.approx(len(model), rel=0.01)


def test_the_reach_is_what_the_layers_add_up_to(model: bytes) -> None:
    parts = vits_split.split(model)
    assert parts.flow.reach_frames == 4 * 4 * 2  # four couplings of four convolutions of five taps
    # conv_pre 3, then at 8, 64 and 256 steps a frame the widest branch (9 + 36 steps) and the upsampling before it
    assert parts.decoder.reach_frames == 11
    assert parts.decoder.upsampling == 256
    assert parts.text.reach_frames >= 0


def test_a_decoder_that_needs_its_axes_keeps_them(model: bytes) -> None:
    whole = vits_split.split(model).decoder
    assert b"as image" in whole.model
    # an operation that is not known to work on any shape
    other = vits_split.split(model.replace(b"LeakyRelu", b"LeakyRelX")).decoder
    assert b"as image" not in other.model
    assert (other.reach_frames, other.upsampling) == (whole.reach_frames, whole.upsampling)


def test_a_voice_without_its_decoder_is_named(model: bytes) -> None:
    broken = model.replace(b"dec.conv_pre.weight", b"dec.conv_prX.weight")
    with pytest.raises(ModelError, match="conv_pre"):
        vits_split.split(broken)


def test_a_voice_without_noise_is_named(model: bytes) -> None:
    with pytest.raises(ModelError, match="noise"):
        vits_split.split(model.replace(b"RandomNormalLike", b"RandomUnknowLike"))


@pytest.mark.parametrize("size", [0, 1, 100, 30_000_000])
def test_a_file_cut_short_is_named(model: bytes, size: int) -> None:
    with pytest.raises(ModelError, match="download"):
        vits_split.split(model[:size])


@given(st.binary(max_size=200))
def test_any_other_bytes_are_named(data: bytes) -> None:
    with pytest.raises(ModelError):
        vits_split.split(data)


def test_the_text_encoder_in_two_is_the_whole() -> None:
    """The text part in two, both in float32, against the text part."""
    parts = vits_split.split(models.piper("en_US-joe-medium")[0].read_bytes())
    feed = {
        "input": np.array([[1, 0, 20, 0, 59, 0, 24, 0, 120, 0, 2]], np.int64),
        "input_lengths": np.array([11], np.int64),
        "scales": np.array([0.0, 1.0, 0.0], np.float32),
    }
    first, rest = vits_split.split_text_encoder(parts.text)
    assert set(first.inputs) == {"input", "input_lengths"}
    assert rest.outputs == parts.text.outputs
    assert len(rest.model) < len(first.model) / 4

    def run(part: Part) -> list[NDArray[np.float32]]:
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
    parts = vits_split.split(model.replace(b"enc_p.proj.weight", b"enc_p.prXj.weight"))
    with pytest.raises(ModelError, match=r"enc_p\.proj"):
        vits_split.split_text_encoder(parts.text)
