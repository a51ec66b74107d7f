from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from voice_agent.config import models
from voice_agent.errors import ModelError
from voice_agent.stt.backends.onnx.ct2_file import Ct2File

_TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def _text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def _file(
    variables: dict[str, npt.NDArray[np.generic]], aliases: dict[str, str] | None = None, version: int = 6
) -> bytes:
    out = struct.pack("<I", version) + _text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        raw = array.tobytes()
        out += _text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        out += struct.pack("<BI", _TYPES[str(array.dtype)], len(raw)) + raw
    out += struct.pack("<I", len(aliases or {}))
    for alias, name in (aliases or {}).items():
        out += _text(alias) + _text(name)
    return out


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(
        _file(
            {
                "a/weight": np.array([[1.5, -2.0], [0.25, 4.0]], np.float16),
                "b/weight": np.array([[127, -64], [10, 0]], np.int8),
                "b/weight_scale": np.array([127.0, 2.0], np.float32),
                "heads": np.array(6, np.int16),
                "decoder/layer_0/self_attention/linear_0/weight": np.zeros((2, 2), np.float32),
                "decoder/layer_1/self_attention/linear_0/weight": np.zeros((2, 2), np.float32),
            },
            {"c/weight": "a/weight"},
        )
    )
    return path


def test_what_stands_in_the_file(written: Path) -> None:
    w = Ct2File(written)
    assert w.array("a/weight").tolist() == [[1.5, -2.0], [0.25, 4.0]]
    assert w.array("a/weight").dtype == np.float32
    assert int(w.raw("heads")) == 6
    assert w.layers("decoder") == 2
    assert w.layers("encoder") == 0


def test_whole_numbers_are_multiplied_out(written: Path) -> None:
    assert Ct2File(written).array("b/weight") == pytest.approx(np.array([[1.0, -64 / 127], [5.0, 0.0]]))


def test_a_name_that_stands_for_another(written: Path) -> None:
    w = Ct2File(written)
    assert "c/weight" in w
    assert w.array("c/weight").tolist() == w.array("a/weight").tolist()
    assert "d/weight" not in w


@pytest.mark.parametrize("kept", [0, 3, 20, 60, 200])
def test_a_file_that_is_cut_short(written: Path, kept: int) -> None:
    written.write_bytes(written.read_bytes()[:kept])
    with pytest.raises(ModelError, match="cut short"):
        Ct2File(written)


def test_a_version_that_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(_file({}, version=99))
    with pytest.raises(ModelError, match="version 99"):
        Ct2File(path)


def test_a_real_model() -> None:
    w = Ct2File(models.whisper("tiny.en") / "model.bin")
    assert (w.layers("encoder"), w.layers("decoder")) == (4, 4)
    assert w.raw("decoder/projection/weight").shape == (51864, 384)
