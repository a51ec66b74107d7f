"""The repository as a whole: what must not be in it, and what must agree."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
import wave
from pathlib import Path

import numpy as np
import pytest
from livekit.local_inference import VAD, VAD_WINDOW_SAMPLES

import voice_agent
from voice_agent.config import models

ROOT = Path(__file__).resolve().parent.parent
# Written in pieces, so that this file does not find itself.
HOSTS = ["pypi." + "org", "files.python" + "hosted", "npm" + "js.", "registry." + "yarnpkg", "crates." + "io"]
MACHINE_PATHS = [r"/ro" + r"ot/", r"/ho" + r"me/\w", r"/wo" + r"rk/", r"/Us" + r"ers/\w", r"[A-Z]:\\Us" + r"ers"]


def repository_files() -> list[Path]:
    """Every file that is tracked, or would be by ``git add .``; all files where there is no git."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> dict[Path, str]:
    found = {}
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" not in content:
            found[path.relative_to(ROOT)] = content.decode()
    return found


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    wrong = re.compile("|".join([*map(re.escape, HOSTS), *(r"(?<![\w.:/-])" + path for path in MACHINE_PATHS)]))
    hits = [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if wrong.search(line)
    ]
    assert not hits, "\n".join(hits)


def test_the_constraints_are_exact_and_without_addresses() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^@]+)?", line), line


def test_the_constraints_cover_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *(requirement for extra in extras.values() for requirement in extra)]
    names = {re.split(r"[<>=\[; ]", requirement)[0] for requirement in listed} - {"voice-agent"}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert names <= pinned


def test_the_development_extra_has_every_other() -> None:
    """One environment runs every test."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"voice-agent[{','.join(sorted(extras.keys() - {'dev'}))}]" in extras["dev"]


def test_the_version_and_the_weights_are_the_same_wherever_they_stand() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == voice_agent.__version__
    assert f'WEIGHTS="{models.SMOLLM2.requirements[0]}"' in (ROOT / "scripts" / "_setup.sh").read_text()


@pytest.mark.parametrize("name", ["scripts/talk", "scripts/test", "scripts/check", ".ci/run"])
def test_the_scripts_are_executable_and_parse(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / name)], check=True)


@pytest.mark.parametrize("module", ["time", "os.environ"])
def test_time_and_the_environment_are_read_in_one_module_each(module: str) -> None:
    allowed = {"time": "clock.py", "os.environ": "variables.py"}[module]
    pattern = {"time": r"^\s*(import time\b|from time import)", "os.environ": r"\bos\.(environ|getenv)\b"}[module]
    readers = {path.name for path in (ROOT / "voice_agent").rglob("*.py") if re.search(pattern, path.read_text(), re.M)}
    if module == "time":  # the virtual clock leads LiveKit's own calls of it
        readers.discard("world.py")
    assert readers == {allowed}


def test_the_stages_do_not_import_each_other() -> None:
    stages = {"stt", "turn", "llm", "tts"}
    for stage in stages:
        for path in (ROOT / "voice_agent" / stage).rglob("*.py"):
            imports = re.findall(r"^\s*(?:from|import) (?:\.\.|voice_agent\.)(\w+)", path.read_text(), re.M)
            assert not (stages - {stage}) & set(imports), path


def samples(path: Path) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    with wave.open(str(path)) as reader:
        assert (reader.getframerate(), reader.getnchannels(), reader.getsampwidth()) == (16000, 1, 2), path
        return np.frombuffer(reader.readframes(reader.getnframes()), np.int16)


def speech_end_s(path: Path) -> float:
    """The end of the last window of 32 ms that is speech, counted from the first sample."""
    vad, pcm, step = VAD(), samples(path), VAD_WINDOW_SAMPLES
    ends = [at + step for at in range(0, len(pcm) - step + 1, step) if vad.predict(pcm[at : at + step]) > 0.5]
    return ends[-1] / 16000


def test_the_recordings_end_where_their_notes_say(speech: Path) -> None:
    notes = {path: json.loads(path.read_text()) for path in speech.glob("*.json") if path.name != "holds.json"}
    ends = {speech / note["file"]: note["end_s"] for note in notes.values()}
    holds = json.loads((speech / "holds.json").read_text())
    for hold in holds:
        ends |= {speech / f"{hold[part]}.wav": hold[f"{part}_end_s"] for part in ("lead", "rest")}
    assert (len(notes), len(holds)) == (9, 6)
    assert set(ends) == set(speech.glob("*.wav"))
    for path, end_s in ends.items():
        assert speech_end_s(path) == pytest.approx(end_s, abs=0.0325), path


def test_the_demo_is_made_of_recordings_that_are_there(assets: Path) -> None:
    items = json.loads((assets / "demo" / "demo.json").read_text())["items"]
    assert len(items) == 5
    for item in items:
        path = assets / "demo" / item["file"]
        assert speech_end_s(path) == pytest.approx(item["end_s"], abs=0.0325), path
