"""The next tokens of a text, by SmolLM2 on onnxruntime. All calls share one model; each has its own :class:`Reader`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ...onnx_tools.onnx_session import onnx_session, session_options
from ...runtime.malloc import trim_heap
from .gguf import Gguf
from .lm_graph import POSITIONS, llama, shape_of_past

KEPT_OF_A_LONG_TEXT = 128  # tokens
_SPECIAL = 3  # token_type: a control token


class TextModel:
    """A GGUF file of SmolLM2's kind. ``head``: the beginning of every prompt; it is read once.

    One text is read at a time, on one core, on the caller's thread. Raises ModelError if the file cannot be used.
    """

    def __init__(self, path: Path, head: str = "") -> None:
        file = Gguf(path)
        self._tokenizer = _tokenizer(file)
        self._embeddings = file.rows("token_embd.weight")
        try:
            self._session = onnx_session(llama(file), session_options(1))
        except ModelError:
            raise
        except Exception as e:  # onnxruntime's errors have no base of their own
            raise ModelError(
                f"{path}: onnxruntime cannot run it ({type(e).__name__}); set turn.end_of_turn_model=rules"
            ) from e
        file.let_go()
        trim_heap()  # what the model was written down in
        self._reading = threading.Lock()
        self._texts: dict[int, str] = {}
        ids, nothing = tuple(self._tokenizer.encode(head).ids), np.zeros(shape_of_past(file), np.float32)
        self._head = len(ids)
        self.read = ids, self.step(ids, nothing, 1)[2] if ids else nothing
        """The head's tokens and their keys and values."""

    def reader(self) -> Reader:
        """A reader for one call."""
        return Reader(self)

    def tokens(self, prompt: str) -> tuple[int, ...]:
        """The prompt's tokens; for a prompt that is too long, its head and its end."""
        ids = self._tokenizer.encode(prompt).ids
        return tuple(ids if len(ids) <= POSITIONS else ids[: self._head] + ids[-KEPT_OF_A_LONG_TEXT:])

    def text(self, token: int) -> str:
        """The text of a token."""
        found = self._texts.get(token)
        if found is None:
            found = self._texts[token] = self._tokenizer.decode([token], skip_special_tokens=False)
        return found

    def step(
        self, ids: Sequence[int], past: NDArray[np.float32], top: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Read ``ids`` after ``past``: log-probabilities and ids [top] of the next tokens, and the new past."""
        total = past.shape[3] + len(ids)
        given = {
            "x": self._embeddings(ids)[None],
            "past": past,
            "before": np.array([total - 1], np.int32),
            "all": np.array([total], np.int32),
            "top": np.array([top], np.int64),
        }
        with self._reading:
            found: Any = self._session.run(("logprobs", "ids", "read"), given)
        return found[0].ravel(), found[1].ravel(), found[2]


class Reader:
    """The prompts of one call. A prompt that begins as the last one did costs only its new tokens."""

    def __init__(self, model: TextModel) -> None:
        self._model = model
        self._ids, self._past = model.read

    def next_tokens(self, prompt: str, top: int) -> list[tuple[str, float]]:
        """The ``top`` likeliest next tokens after ``prompt`` with natural log-probabilities, the likeliest first."""
        ids = self._model.tokens(prompt)
        known = 0
        while known < min(len(self._ids), len(ids) - 1) and self._ids[known] == ids[known]:
            known += 1
        logprobs, found, self._past = self._model.step(ids[known:], self._past[:, :, :, :known], top)
        self._ids = ids
        return [(self._model.text(int(token)), float(p)) for token, p in zip(found, logprobs, strict=True)]


def _tokenizer(file: Gguf) -> Any:
    """SmolLM2's (``tokenizer.ggml.pre`` = smollm): byte-level BPE, digits apart."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind = file.fact("tokenizer.ggml.model"), file.fact("tokenizer.ggml.pre")
    if kind != ("gpt2", "smollm"):
        raise ModelError(f"its tokenizer is {'/'.join(map(str, kind))}: this is not SmolLM2")
    texts = file.fact("tokenizer.ggml.tokens")
    merges = [tuple(pair.split(" ", 1)) for pair in file.fact("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({text: number for number, text in enumerate(texts)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = file.fact("tokenizer.ggml.token_type")
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True) for text, kind in zip(texts, kinds, strict=True) if kind == _SPECIAL]
    )
    return tokenizer
