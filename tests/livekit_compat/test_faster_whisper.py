"""faster-whisper's prompt, word times and languages, by names that it does not promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faster_whisper.tokenizer import Tokenizer
from tokenizers import Tokenizer as HfTokenizer

from voice_agent.config import models
from voice_agent.errors import DependencyError
from voice_agent.livekit_compat import faster_whisper as compat
from voice_agent.livekit_compat.symbols import Symbol
from voice_agent.stt.backends.ctranslate2 import Ct2Whisper
from voice_agent.stt.backends.load_backend import load_backend


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    hf = HfTokenizer.from_file(str(models.whisper("tiny.en") / "tokenizer.json"))
    return Tokenizer(hf, False, task="transcribe", language="en")


def test_a_prompt_is_the_start_alone_or_follows_what_was_said(tokenizer: Tokenizer) -> None:
    start = list(tokenizer.sot_sequence)
    said = tokenizer.encode(" The weather is fine.")
    words = tokenizer.encode(" Austen")
    assert compat.prompt(tokenizer, [], None, 448) == start
    assert compat.prompt(tokenizer, said, None, 448) == [tokenizer.sot_prev, *said, *start]
    assert compat.prompt(tokenizer, said, "Austen", 448) == [tokenizer.sot_prev, *words, *said, *start]


def test_of_what_was_said_the_end_is_kept(tokenizer: Tokenizer) -> None:
    said = list(range(1000, 1100))
    assert compat.prompt(tokenizer, said, None, 40) == [tokenizer.sot_prev, *said[-19:], *tokenizer.sot_sequence]


@dataclass(frozen=True)
class OneTokenEach:
    """Token i lies at position 10 * i."""

    def align(
        self,
        encoder_output: Any,
        start_sequence: Sequence[int],
        text_tokens: Sequence[Sequence[int]],
        num_frames: int,
        *,
        median_filter_width: int = 7,
    ) -> Sequence[Any]:
        assert (encoder_output, num_frames, median_filter_width) == ("encoded", 300, 7)
        (tokens,) = text_tokens
        pairs = [(i, 10 * i) for i in range(len(tokens) + 1)]
        return [SimpleNamespace(alignments=pairs, text_token_probs=[0.5] * len(tokens))]


def test_words_have_their_times_in_seconds(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(" one two three")
    words = compat.word_times(OneTokenEach(), tokenizer, tokens, "encoded", 300)
    assert [word["word"] for word in words] == [" one", " two", " three"]
    assert [word["start"] for word in words] == pytest.approx([0.0, 0.2, 0.4])
    assert [word["end"] for word in words] == pytest.approx([0.2, 0.4, 0.6])
    assert [word["probability"] for word in words] == pytest.approx([0.5] * 3)


def test_no_token_has_no_word(tokenizer: Tokenizer) -> None:
    assert compat.word_times(OneTokenEach(), tokenizer, [], "encoded", 300) == []


def test_the_model_on_ctranslate2_has_what_is_read_of_it() -> None:
    model = Ct2Whisper(models.whisper("tiny.en"), "cpu", "int8", 1)
    assert model.is_multilingual is False
    assert isinstance(model.hf_tokenizer, HfTokenizer)
    encoded = model.encode(np.zeros(16000, np.float32), 32000)
    assert model.generate(encoded, [50257], 5).no_speech_prob > 0


def test_languages_are_known_by_their_codes(
    without: Callable[[Symbol], None], warnings: Callable[[], list[str]]
) -> None:
    assert [compat.knows_language(code) for code in ("en", "de", "yue", "xx")] == [True, True, True, False]
    without(compat.LANGUAGE_CODES)
    assert compat.knows_language("xx")  # noticed when the model is loaded
    assert len(warnings()) == 1


@pytest.mark.parametrize("symbol", [compat.GET_PROMPT, compat.FIND_ALIGNMENT], ids=str)
def test_without_a_method_no_model_is_loaded_and_the_version_is_named(
    symbol: Symbol, without: Callable[[Symbol], None]
) -> None:
    without(symbol)
    with pytest.raises(DependencyError, match=r"pip install 'faster-whisper>=1\.2\.1,<1\.3'"):
        load_backend(models.whisper("tiny.en"), backend="auto", device="cpu", compute_type="int8", threads=1)
