"""The real SmolLM2 on onnxruntime, beside llama.cpp with the same file."""

from __future__ import annotations

import json
import struct
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from voice_agent.config import models
from voice_agent.errors import ModelError
from voice_agent.llm.local.embedded import EmbeddedModel
from voice_agent.turn import TextEndOfTurnModel
from voice_agent.turn.eou.end_of_turn_models import PROMPT_HEAD
from voice_agent.turn.eou.language_model import KEPT_OF_A_LONG_TEXT, Reader, TextModel
from voice_agent.turn.eou.lm_graph import POSITIONS

from .test_gguf import fact, text, written

TEXTS = [
    "What is the capital of France",
    "What is the capital of",
    "I would like to book a table for two",
    "I would like to book a table for",
    "Can you tell me when the train leaves",
    "It's 3.5% of 1,234 — naïve café, don't you think?",
    "Yes",
    "the number i have is two four four",
    "Please enter the number you wish to call and then press the pound key, or",
    "A  b\n\nc\td 2026",
]


@pytest.fixture(scope="module")
def model() -> TextModel:
    return TextModel(models.smollm2(), PROMPT_HEAD)


@pytest.fixture(scope="module")
def llama() -> Iterator[EmbeddedModel]:
    with EmbeddedModel.shared(models.smollm2()) as loaded:
        yield loaded


def top(reader: Reader, prompt: str, count: int = 20) -> dict[str, float]:
    return dict(reader.next_tokens(prompt, count))


@pytest.mark.parametrize("said", TEXTS)
def test_it_cuts_texts_as_llama_cpp_does(model: TextModel, llama: EmbeddedModel, said: str) -> None:
    body = json.dumps({"content": PROMPT_HEAD + said, "parse_special": True}).encode()
    key = {"Authorization": f"Bearer {llama.api_key.reveal()}"}
    request = urllib.request.Request(llama.serve().removesuffix("/v1") + "/tokenize", body, key)
    with urllib.request.urlopen(request, timeout=10) as answer:
        theirs = json.load(answer)["tokens"]
    assert model.tokens(PROMPT_HEAD + said) == tuple(theirs)


@pytest.mark.parametrize("said", TEXTS)
def test_it_expects_what_llama_cpp_expects(model: TextModel, llama: EmbeddedModel, said: str) -> None:
    """Both make 8 bits of the activations, in blocks; llama.cpp's are 32 of its own."""
    ours = model.reader().next_tokens(PROMPT_HEAD + said, 100)
    found = llama.next_token_logprobs(PROMPT_HEAD + said, 100)
    often = Counter(token for token, _ in (*ours, *found))
    theirs = {token: p for token, p in found if often[token] == 2}  # several tokens may be written alike
    assert [p for _, p in ours] == sorted((p for _, p in ours), reverse=True)
    assert sum(np.exp(p) for _, p in ours) <= 1.0001
    # A control token has no text in llama.cpp's answer; what is rare may be beyond its hundred.
    both = [(p, theirs[token]) for token, p in ours[:20] if token in theirs]
    assert len(both) >= 12
    differences = np.array([a - b for a, b in both])
    assert np.abs(differences).mean() < 0.2
    assert np.abs(differences).max() < 0.8


def test_the_judges_scores_are_llama_cpps(model: TextModel, llama: EmbeddedModel) -> None:
    ours, theirs = TextEndOfTurnModel(model.reader().next_tokens), TextEndOfTurnModel(llama.next_token_logprobs)
    whole = "I am sorry but I did not understand what you said about the train to the city".split()
    texts = [" ".join(whole[:count]) for count in range(3, len(whole) + 1)]
    differences = np.array([ours.score(one) - theirs.score(one) for one in texts])
    assert np.median(np.abs(differences)) < 0.25


def test_what_is_known_already_is_not_read_again(model: TextModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    step = model.step

    def counted(ids: tuple[int, ...], *rest: object) -> object:
        read.append(len(ids))
        return step(ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "step", counted)
    reader = model.reader()
    for said in ("What is", "What is the capital", "What is the capital", "What was the"):
        reader.next_tokens(PROMPT_HEAD + said, 1)
    assert read == [2, 2, 1, 2]


def test_a_text_that_grew_is_as_one_that_is_new(model: TextModel) -> None:
    reader = model.reader()
    words = TEXTS[8].split()
    for count in range(1, len(words)):
        reader.next_tokens(PROMPT_HEAD + " ".join(words[:count]), 1)
    reader.next_tokens(PROMPT_HEAD + "Please enter something else and then", 1)
    grown, new = (top(one, PROMPT_HEAD + TEXTS[8], 30) for one in (reader, model.reader()))
    likeliest = sorted(new, key=lambda token: -new[token])[:10]
    # A single token goes through another kernel of onnxruntime's; of another text they are off by whole numbers.
    assert max(abs(grown[token] - new[token]) for token in likeliest) < 0.4


def test_calls_that_read_at_once_do_not_disturb_each_other(model: TextModel) -> None:
    alone = {said: top(model.reader(), PROMPT_HEAD + said) for said in TEXTS}
    found: dict[str, dict[str, float]] = {}

    def read(texts: list[str]) -> None:
        reader = model.reader()
        for said in texts:
            found[said] = top(reader, PROMPT_HEAD + said)

    threads = [threading.Thread(target=read, args=(TEXTS[start::3],)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.keys() == alone.keys()
    for said, expected in alone.items():
        assert found[said] == pytest.approx(expected, abs=1e-3)


def test_of_a_text_that_is_too_long_the_end_is_read(model: TextModel) -> None:
    head = model.tokens(PROMPT_HEAD)
    ids = model.tokens(PROMPT_HEAD + "and then he said that " * POSITIONS + "it was late")
    assert ids[: len(head)] == head
    assert len(ids) == len(head) + KEPT_OF_A_LONG_TEXT
    assert ids[-3:] == model.tokens(PROMPT_HEAD + "that it was late")[-3:]
    reader = model.reader()
    before = top(reader, PROMPT_HEAD + "and then he said that " * POSITIONS + "it was late")
    assert "." in before
    assert top(reader, PROMPT_HEAD + "What is the capital of France") == pytest.approx(
        top(model.reader(), PROMPT_HEAD + "What is the capital of France"), abs=1e-3
    )
    longest = PROMPT_HEAD + "a" + " a" * (POSITIONS - len(head) - 1)
    assert len(model.tokens(longest)) == POSITIONS  # the last place there is
    assert top(reader, longest)


def test_without_a_head(model: TextModel) -> None:
    bare = TextModel(models.smollm2())
    assert top(bare.reader(), PROMPT_HEAD + TEXTS[0]) == pytest.approx(
        top(model.reader(), PROMPT_HEAD + TEXTS[0]), abs=0.1
    )


def test_files_that_it_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fetch it again"):
        TextModel(tmp_path / "none.gguf")
    other = tmp_path / "other.gguf"
    other.write_bytes(
        written([], [fact("tokenizer.ggml.model", 8, text("llama")), fact("tokenizer.ggml.pre", 8, text("x"))])
    )
    with pytest.raises(ModelError, match="this is not SmolLM2"):
        TextModel(other)
    whole = models.smollm2().read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cut short"):
        TextModel(cut)
    no_rope = tmp_path / "no_rope.gguf"
    name = b"llama.rope.freq_base"
    no_rope.write_bytes(
        whole.replace(struct.pack("<Q", len(name)) + name, struct.pack("<Q", len(name)) + name[::-1], 1)
    )
    with pytest.raises(ModelError, match=r"has no llama\.rope\.freq_base"):
        TextModel(no_rope)
