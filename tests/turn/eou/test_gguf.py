"""GGUF files, read; and the real one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_agent.config import models
from voice_agent.errors import ModelError
from voice_agent.turn.eou.gguf import Blocks, Gguf

F32, F16, Q4_1, Q8_0 = 0, 1, 3, 8


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def fact(name: str, kind: int, body: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + body


def written(
    tensors: Sequence[tuple[str, int, Sequence[int], bytes]], facts: Sequence[bytes] = (), step: int = 32
) -> bytes:
    """A GGUF file as llama.cpp writes it. ``tensors``: name, kind, shape, what is stored."""
    facts = [fact("general.alignment", 4, struct.pack("<I", step)), *facts]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts)) + b"".join(facts)
    body = b""
    for name, kind, shape, stored in tensors:
        body += b"\0" * (-len(body) % step)
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += struct.pack("<IQ", kind, len(body))
        body += stored
    return head + b"\0" * (-len(head) % step) + body


def q4_1(values: NDArray[np.float32]) -> tuple[bytes, NDArray[np.float32]]:
    """As ggml stores [rows, columns], and what is then stored."""
    stored, worth = b"", []
    for block in values.reshape(-1, 32):
        least = np.float16(block.min())
        step = np.float16((block.max() - block.min()) / 15)
        numbers = np.clip(np.rint((block - float(least)) / max(float(step), 1e-9)), 0, 15).astype(np.uint8)
        stored += step.tobytes() + least.tobytes() + (numbers[:16] | numbers[16:] << 4).tobytes()
        worth.append(numbers * np.float32(step) + np.float32(least))
    return stored, np.array(worth, np.float32).reshape(values.shape)


def q8_0(values: NDArray[np.float32]) -> tuple[bytes, NDArray[np.float32]]:
    stored, worth = b"", []
    for block in values.reshape(-1, 32):
        step = np.float16(np.abs(block).max() / 127)
        numbers = np.clip(np.rint(block / max(float(step), 1e-9)), -127, 127).astype(np.int8)
        stored += step.tobytes() + numbers.tobytes()
        worth.append(numbers * np.float32(step))
    return stored, np.array(worth, np.float32).reshape(values.shape)


def some(low: float, high: float, rows: int = 5, columns: int = 96) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(low, high, (rows, columns)).astype(np.float32)


def values(found: Blocks) -> NDArray[np.float32]:
    """What its numbers are worth, [out, in]."""
    above = found.numbers.astype(np.float32) - found.zero[..., None]
    worth: NDArray[np.float32] = (above * found.step[..., None]).reshape(len(found.numbers), -1)
    return worth


def file_of(tmp_path: Path, *tensors: tuple[str, int, Sequence[int], bytes], facts: Sequence[bytes] = ()) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(written(tensors, facts))
    return path


@pytest.mark.parametrize(
    ("low", "high"),
    [(-1.0, 1.0), (-0.2, 3.0), (0.5, 1.0), (-1.0, -0.75), (0.0, 0.0)],
    ids=["usual", "uneven", "all above zero", "all below zero", "all the same"],
)
def test_four_bits_become_eight_and_lose_next_to_nothing(tmp_path: Path, low: float, high: float) -> None:
    stored, worth = q4_1(some(low, high))
    found = Gguf(file_of(tmp_path, ("w", Q4_1, (5, 96), stored))).blocks("w")
    assert found.numbers.shape == (5, 3, 32)
    assert found.step.shape == found.zero.shape == (5, 3)
    # Half a step of what is finer than 4 bits by 16; or of 8 bits over all from zero on.
    finest = max(high - low, abs(high), abs(low)) / 240
    np.testing.assert_allclose(values(found), worth, atol=finest * 0.6 + 1e-3 * abs(high))


def test_eight_bits_are_kept(tmp_path: Path) -> None:
    stored, worth = q8_0(some(-1.0, 0.3))
    file = Gguf(file_of(tmp_path, ("a", F32, (3,), b"\0" * 12), ("w", Q8_0, (5, 96), stored)))
    np.testing.assert_allclose(values(file.blocks("w")), worth, rtol=1e-6)
    np.testing.assert_allclose(file.rows("w")([3, 0, 3]), worth[[3, 0, 3]], rtol=1e-6)


def test_plain_numbers_and_facts(tmp_path: Path) -> None:
    numbers = some(-1, 1, 1, 7)[0]
    facts = [
        fact("n", 4, struct.pack("<I", 9)),
        fact("f", 6, struct.pack("<f", 0.5)),
        fact("yes", 7, b"\1"),
        fact("words", 9, struct.pack("<IQ", 8, 2) + text("ä") + text("")),
    ]
    file = Gguf(file_of(tmp_path, ("a", F32, (7,), numbers.tobytes()), facts=facts))
    assert np.array_equal(file.array("a"), numbers)
    assert [file.fact(name) for name in ("n", "f", "yes", "words")] == [9, 0.5, True, ["ä", ""]]


def test_what_is_not_there_or_in_another_form_is_said(tmp_path: Path) -> None:
    file = Gguf(file_of(tmp_path, ("half", F16, (4, 32), b"\0" * 256), ("a", F32, (4,), b"\0" * 16)))
    for wrong in (
        lambda: file.blocks("half"),
        lambda: file.blocks("none"),
        lambda: file.array("half"),
        lambda: file.rows("a"),
    ):
        with pytest.raises(ModelError, match=r"m\.gguf.*only llama\.cpp"):
            wrong()
    with pytest.raises(ModelError, match=r"has no llama\.block_count"):
        file.fact("llama.block_count")


def test_files_that_are_none_or_cut_short(tmp_path: Path) -> None:
    whole = written([("w", Q8_0, (5, 96), q8_0(some(-1, 1))[0])], [fact("t", 8, text("a text"))])
    path = tmp_path / "m.gguf"
    for size in range(0, len(whole), 3):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"m\.gguf"):
            Gguf(path).blocks("w")
    for body in (b"PK\3\4" + whole[4:], b"GGUF" + struct.pack("<I", 1) + whole[8:], b"GGUF" + b"\xff" * 64):
        path.write_bytes(body)
        with pytest.raises(ModelError, match="fetch it again"):
            Gguf(path)
    with pytest.raises(ModelError, match="fetch it again"):
        Gguf(tmp_path / "none")


def test_smollm2() -> None:
    file = Gguf(models.smollm2())
    assert file.fact("general.architecture") == "llama"
    assert len(file.fact("tokenizer.ggml.tokens")) == file.fact("llama.vocab_size")
    gate = values(file.blocks("blk.0.ffn_gate.weight"))
    assert gate.shape == (1536, 576)
    assert 0.01 < gate.std() < 1.0
    assert abs(float(gate.mean())) < 0.01
