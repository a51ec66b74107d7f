from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer

from voice_agent.audio.files import read_audio
from voice_agent.config import models
from voice_agent.onnx_tools.onnx_session import session_options
from voice_agent.stt.backends.base import WhisperBackend
from voice_agent.stt.backends.ctranslate2 import Ct2Whisper
from voice_agent.stt.backends.onnx import onnx_whisper
from voice_agent.stt.backends.onnx.onnx_whisper import OnnxWhisper
from voice_agent.stt.backends.onnx.whisper_graph import Network, features
from voice_agent.stt.generation import prompt_of
from voice_agent.stt.pcm import to_float

Float32 = npt.NDArray[np.float32]
BOUND = 60


@pytest.fixture(scope="module")
def ours() -> OnnxWhisper:
    return OnnxWhisper(models.whisper("tiny.en"))


@pytest.fixture(scope="module")
def theirs() -> Ct2Whisper:
    return Ct2Whisper(models.whisper("tiny.en"), "cpu", "float32", 1)


@pytest.fixture(scope="module")
def tokenizer(ours: OnnxWhisper) -> Tokenizer:
    return Tokenizer(ours.hf_tokenizer, ours.is_multilingual, task="transcribe", language="en")


@dataclass(frozen=True)
class Sound:
    pcm: Float32

    def by(self, model: WhisperBackend) -> Any:
        """Encoded by ``model`` with 1.5 s of silence after it."""
        return model.encode(self.pcm, len(self.pcm) + 24000)


@pytest.fixture(scope="module")
def sounds() -> list[Sound]:
    """Three recorded sentences."""
    read = (read_audio(models.assets() / "speech" / f"{name}.wav") for name in ("ask01", "ask02", "ask04"))
    return [Sound(to_float(wav.samples)) for wav in read]


@pytest.mark.parametrize("bins", [80, 128])
def test_the_same_spectrum_as_faster_whisper(sounds: list[Sound], bins: int) -> None:
    g = Network(blocks=False)
    g.output("mel", features(g, g.input("pcm"), g.input("silence", np.int64), bins))
    session = ort.InferenceSession(g.model(), session_options(1))
    for sound in sounds:
        (ours,) = session.run(["mel"], {"pcm": sound.pcm, "silence": np.array([24000], np.int64)})
        theirs = FeatureExtractor(feature_size=bins)(np.pad(sound.pcm, (0, 24000)), padding=0)
        assert ours.shape == (1, *theirs.shape)
        assert np.abs(ours[0] - theirs).max() < 1e-3


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("width", [384, 448])  # 448 is no multiple of a block
def test_a_matrix_in_whole_numbers(blocks: bool, width: int) -> None:
    chance = np.random.default_rng(width)
    weight = chance.normal(0, 0.05, (96, width)).astype(np.float32)
    weight[:, :7] *= 20  # what is large lies together, and the step is its own
    bias = chance.normal(0, 1, 96).astype(np.float32)
    x = chance.normal(0, 1, (1, 5, width)).astype(np.float32)
    g = Network(blocks=blocks)
    g.output("y", g.linear(g.input("x"), weight, bias))
    (y,) = ort.InferenceSession(g.model(), session_options(1)).run(["y"], {"x": x})
    off = np.abs(y - (x @ weight.T + bias)).max()
    # Half a step is off at most, a step is max |w| / 127 in a block with large ones, / 63 in a row: four deviations.
    rows = np.abs(weight).max()
    assert off < 4 * (rows / 127 * np.sqrt(128 / 12) + 0.02 if blocks else rows / 63 * np.sqrt(width / 12)), off


def _segment(ids: tuple[int, ...], begin: int) -> tuple[int, ...]:
    """The first segment without its end mark, which is a close call; after it a short window may loop."""
    closed = next((at for at, i in enumerate(ids) if at and i >= begin), len(ids))
    return ids[:closed]


def test_the_same_text_as_ctranslate2_in_full_precision(
    ours: OnnxWhisper, theirs: Ct2Whisper, tokenizer: Tokenizer, sounds: list[Sound]
) -> None:
    prompt = prompt_of(tokenizer, "", None)
    for sound in sounds:
        a = ours.generate(sound.by(ours), prompt, BOUND)
        b = theirs.generate(sound.by(theirs), prompt, BOUND)
        assert _segment(a.ids, tokenizer.timestamp_begin) == _segment(b.ids, tokenizer.timestamp_begin)
        assert a.no_speech_prob == pytest.approx(b.no_speech_prob, abs=0.1)


def test_the_same_with_text_before_and_words_to_favour(
    ours: OnnxWhisper, theirs: Ct2Whisper, tokenizer: Tokenizer, sounds: list[Sound]
) -> None:
    prompt = prompt_of(tokenizer, "We were talking about books.", "Austen")
    sound = sounds[0]
    a = ours.generate(sound.by(ours), prompt, BOUND)
    b = theirs.generate(sound.by(theirs), prompt, BOUND)
    assert _segment(a.ids, tokenizer.timestamp_begin) == _segment(b.ids, tokenizer.timestamp_begin)


def test_as_likely_and_in_the_same_place(
    ours: OnnxWhisper, theirs: Ct2Whisper, tokenizer: Tokenizer, sounds: list[Sound]
) -> None:
    sound = sounds[0]
    a, b = sound.by(ours), sound.by(theirs)
    text = _segment(ours.generate(a, prompt_of(tokenizer, "", None), BOUND).ids, tokenizer.timestamp_begin)[1:]
    frames = len(sound.pcm) // 160
    likely = ours.likelihood(a, tokenizer, text, frames)
    assert likely == pytest.approx(theirs.likelihood(b, tokenizer, text, frames), abs=0.2)
    unlikely = ours.likelihood(a, tokenizer, tokenizer.encode(" bananas swim"), frames)
    assert max(unlikely[:1]) < 0.01 < float(np.mean(likely))
    mine, other = ours.alignment(a, tokenizer, text, frames), theirs.alignment(b, tokenizer, text, frames)
    assert [w["word"] for w in mine] == [w["word"] for w in other]
    assert [w["start"] for w in mine] == pytest.approx([w["start"] for w in other], abs=0.1)


@pytest.fixture(scope="module")
def said(ours: OnnxWhisper, tokenizer: Tokenizer, sounds: list[Sound]) -> list[tuple[int, ...]]:
    """The first segment of each, decoded without a draft."""
    prompt = prompt_of(tokenizer, "", None)
    found = [ours.generate(sound.by(ours), prompt, BOUND).ids for sound in sounds]
    return [_segment(ids, tokenizer.timestamp_begin) for ids in found]


@pytest.mark.parametrize("seed", range(9))
def test_no_draft_changes_the_text(
    ours: OnnxWhisper, tokenizer: Tokenizer, sounds: list[Sound], said: list[tuple[int, ...]], seed: int
) -> None:
    encoded, prompt, alone = sounds[seed % 3].by(ours), prompt_of(tokenizer, "", None), said[seed % 3]
    chance = random.Random(seed)
    draft = list(alone)
    for _ in range(3):  # another token, some too many, one too few
        at = chance.randrange(len(draft))
        draft[at : at + chance.randrange(2)] = chance.choices(range(100, 40000), k=chance.randrange(3))
    helped = ours.generate(encoded, prompt, len(alone), draft)
    assert helped.ids == alone
    assert helped.score == pytest.approx(ours.generate(encoded, prompt, len(alone)).score, abs=0.05)


def test_a_right_draft_takes_one_step(
    ours: OnnxWhisper, tokenizer: Tokenizer, sounds: list[Sound], said: list[tuple[int, ...]]
) -> None:
    encoded, prompt, alone = sounds[0].by(ours), prompt_of(tokenizer, "", None), said[0]
    assert ours.generate(encoded, prompt, len(alone)).steps == len(alone) > 8
    assert ours.generate(encoded, prompt, len(alone), alone).steps == 1


def test_a_draft_with_one_wrong_word_takes_three_steps(
    ours: OnnxWhisper, tokenizer: Tokenizer, sounds: list[Sound], said: list[tuple[int, ...]]
) -> None:
    encoded, prompt, alone = sounds[0].by(ours), prompt_of(tokenizer, "", None), said[0]
    draft = [*alone[:3], 1234, *alone[4:]]
    helped = ours.generate(encoded, prompt, len(alone), draft)
    assert helped.ids == alone
    assert helped.steps == 3  # up to the word; the one after it, which the draft has too; all the rest


def test_never_more_tokens_than_allowed(
    ours: OnnxWhisper, tokenizer: Tokenizer, sounds: list[Sound], said: list[tuple[int, ...]]
) -> None:
    encoded, prompt = sounds[0].by(ours), prompt_of(tokenizer, "", None)
    for draft in ((), said[0]):
        assert ours.generate(encoded, prompt, 5, draft).ids == said[0][:5]


def test_a_loop_is_its_own_draft(
    ours: OnnxWhisper, tokenizer: Tokenizer, sounds: list[Sound], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no silence after the sentence Whisper says it over and over; the second round takes a step or two."""
    encoded, prompt = ours.encode(sounds[0].pcm, len(sounds[0].pcm)), prompt_of(tokenizer, "", None)
    quick = ours.generate(encoded, prompt, 30)
    monkeypatch.setattr(onnx_whisper, "after_earlier_occurrence", lambda ids: [])
    slow = ours.generate(encoded, prompt, 30)
    assert quick.ids == slow.ids
    words = [i for i in slow.ids if i < tokenizer.eot]
    assert words[:5] in [words[at : at + 5] for at in range(1, len(words))]  # it does loop
    assert quick.steps <= 20 < slow.steps == 30
    assert quick.score == pytest.approx(slow.score, abs=0.05)


def test_nothing_is_decoded_after_the_end(
    ours: OnnxWhisper, tokenizer: Tokenizer, sounds: list[Sound], said: list[tuple[int, ...]]
) -> None:
    encoded, prompt = sounds[0].by(ours), prompt_of(tokenizer, "", None)
    alone = ours.generate(encoded, prompt, BOUND)
    mark = alone.ids[len(said[0])]
    ended = ours.generate(encoded, prompt, BOUND, end=mark)
    assert ended.ids == alone.ids[: len(said[0]) + 1]
    assert ended.steps == len(ended.ids) < alone.steps
    # Which mark it is is a close call, and a draft's rows are rounded otherwise: any is the end here.
    drafted = ours.generate(encoded, prompt, BOUND, said[0], end=tokenizer.timestamp_begin)
    assert drafted.ids[:-1] == said[0]
    assert drafted.ids[-1] >= tokenizer.timestamp_begin
    assert drafted.steps == 1
    assert ours.generate(encoded, prompt, BOUND, end=mark + 1).ids == alone.ids  # ended before: not the last one


def test_the_language_is_heard(sounds: list[Sound]) -> None:
    base = OnnxWhisper(models.whisper("base"))
    assert base.is_multilingual
    assert base.detect_language(sounds[0].by(base)) == "en"
