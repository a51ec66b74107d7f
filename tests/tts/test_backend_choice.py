"""Which backend a voice is loaded with. These tests run with and without OpenVINO."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from voice_agent.clock import SYSTEM
from voice_agent.config import Config, TtsConfig, models
from voice_agent.errors import ConfigError, ModelError
from voice_agent.pipeline.model_loader import ModelLoader
from voice_agent.tts import Voice, openvino_backend, vits


@pytest.mark.parametrize(("amx", "installed"), [(False, True), (True, False)])
def test_without_amx_or_openvino_auto_is_onnx(monkeypatch: pytest.MonkeyPatch, amx: bool, installed: bool) -> None:
    monkeypatch.setattr(openvino_backend, "has_amx", lambda: amx)
    monkeypatch.setattr(openvino_backend, "openvino", lambda: ModuleType("openvino") if installed else None)
    assert Voice.load(*models.piper("en_US-joe-medium"), backend="auto").backend == "onnx"


def test_openvino_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_backend, "openvino", lambda: None)
    with pytest.raises(ModelError, match=r"tts\.backend=openvino: .* pip install 'voice-agent\[openvino\]'"):
        Voice.load(*models.piper("en_US-joe-medium"), backend="openvino")


def test_a_backend_of_another_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto, onnx, openvino"):
        Voice.load(*models.piper("en_US-joe-medium"), backend="torch")


def test_nothing_imports_openvino_that_does_not_use_it() -> None:
    code = """
import sys
from voice_agent.config import models
from voice_agent.tts import Voice

Voice.load(*models.piper("en_US-joe-medium"), backend="onnx")
print([name for name in sys.modules if name.partition(".")[0] == "openvino"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_the_configuration_knows_the_backends() -> None:
    assert Config(tts=TtsConfig(backend="openvino")).tts.backend in vits.BACKENDS


@pytest.mark.parametrize(
    ("backend", "several", "loaded_as"),
    [("auto", True, "auto"), ("auto", False, "onnx"), ("onnx", True, "onnx"), ("openvino", False, "openvino")],
)
def test_a_rooms_worker_takes_what_is_cheapest(
    monkeypatch: pytest.MonkeyPatch, backend: str, several: bool, loaded_as: str
) -> None:
    """It costs memory and seconds at the start, which one conversation would not get back."""
    asked = list[str]()
    monkeypatch.setattr(Voice, "load", lambda *_, backend: asked.append(backend))
    config = Config(tts=TtsConfig(backend=backend))
    ModelLoader(config, SYSTEM, several=several).voice("en_US-joe-medium")
    assert asked == [loaded_as]
