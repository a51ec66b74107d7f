from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from voice_agent.config import models
from voice_agent.errors import ConfigError, ModelError
from voice_agent.stt.backends.ctranslate2 import Ct2Whisper
from voice_agent.stt.backends.load_backend import load_backend


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    source = models.whisper("tiny.en")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(source / name, tmp_path)
    (tmp_path / "model.bin").write_bytes((source / "model.bin").read_bytes()[:100_000])
    return tmp_path


def test_a_file_cut_short(broken: Path) -> None:
    with pytest.raises(ModelError, match="cut short"):
        load_backend(broken, backend="onnx", device="cpu", compute_type="int8", threads=1)


def test_auto_falls_back_to_ctranslate2(broken: Path) -> None:
    with pytest.raises(ModelError, match=r"did not load on device=cpu.*stt\.model"):
        load_backend(broken, backend="auto", device="cpu", compute_type="int8", threads=1)


@pytest.mark.parametrize("settings", [{"device": "cuda"}, {"compute_type": "float32"}])
def test_what_onnx_cannot_do(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="int8 only"):
        load_backend(
            models.whisper("tiny.en"),
            backend="onnx",
            threads=1,
            **{"device": "cpu", "compute_type": "int8"} | settings,
        )


def test_auto_takes_ctranslate2_for_what_onnx_cannot() -> None:
    found = load_backend(models.whisper("tiny.en"), backend="auto", device="cpu", compute_type="float32", threads=1)
    assert isinstance(found, Ct2Whisper)


def test_an_unknown_backend() -> None:
    with pytest.raises(ConfigError, match="auto, onnx, ctranslate2"):
        load_backend(models.whisper("tiny.en"), backend="torch", device="cpu", compute_type="int8", threads=1)
