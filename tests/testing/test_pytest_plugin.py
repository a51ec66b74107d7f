"""The pytest plugin in a repository that is not ours: pytest runs as a child, and what it says is looked at."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPTS = {
    "good.voice.yaml": """
name: greeting
guards: a plain question is answered in time
turns:
  - say: What is the weather like today?
    expect: {within: 600ms, heard: weather}
  - say: [To mute yourself, {hold: 0.8s}, press star six.]
    expect: {must_not_cut_off: true}
""",
    "late.voice.yaml": """
name: slow-model
guards: a slow model is noticed
llm: sim(ttft=900ms)
turns:
  - say: What is the weather like today?
    expect: {within: 600ms}
""",
}

TESTS = """
import pytest
from livekit.agents import Agent, AgentSession


@pytest.mark.voice(replies=["It is sunny."])
async def test_answers(voice_session, tmp_path):
    turn = await voice_session.say("What is the weather like?")
    assert turn.voice_to_voice_ms < 500
    assert voice_session.heard == ["It is sunny."]


class TestMany:
    @pytest.mark.parametrize("words", ["one two three", "four five six"])
    async def test_hears(self, voice_session, words):
        turn = await voice_session.say(words)
        assert turn.user_text == words


class TestMine:
    @pytest.fixture
    def voice_build(self):
        def build(d):
            return AgentSession(stt=d.stt, llm=d.llm, tts=d.tts, vad=d.vad), Agent(instructions="Be nice.")
        return build

    @pytest.mark.voice(replies=["Hello you."])
    async def test_mine(self, voice_session):
        await voice_session.say("Good morning my dear.")
        assert voice_session.heard == ["Hello you."]
"""


def repository(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def run_pytest(folder: Path, *args: str, python: Path | None = None) -> subprocess.CompletedProcess[str]:
    """pytest in ``folder``. ``python``: of an environment that has the package installed, and the plugin with it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON", "VOICE_AGENT_", "COV_"))}
    named = ["-p", "voice_agent.testing.pytest_plugin"] if python is None else []
    return subprocess.run(
        [str(python or sys.executable), "-m", "pytest", "-q", *named, *args],
        cwd=folder,
        env=env if python is not None else {**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_scripts_and_sessions_are_collected_and_run(tmp_path: Path) -> None:
    repository(tmp_path, **{"good.voice.yaml": SCRIPTS["good.voice.yaml"], "test_mine.py": TESTS})
    done = run_pytest(tmp_path, "-n", "2", "--junitxml=out.xml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "5 passed" in done.stdout
    cases = {case.get("name"): case for case in ET.parse(tmp_path / "out.xml").iter("testcase")}
    assert set(cases) == {
        "greeting",
        "test_answers",
        "test_hears[one two three]",
        "test_hears[four five six]",
        "test_mine",
    }
    figures = {p.get("name"): float(p.get("value") or 0) for p in cases["greeting"].iter("property")}
    assert 150 < figures["turn 1 ms"] < 600


def test_a_failure_shows_the_line_the_waterfall_and_the_recording(tmp_path: Path) -> None:
    repository(
        tmp_path,
        **{
            "late.voice.yaml": SCRIPTS["late.voice.yaml"],
            "bad.voice.yaml": "name: bad\nturnz: []\n",
            "test_late.py": 'import pytest\n\n\n@pytest.mark.voice(llm="sim:ttft=900ms")\n'
            'async def test_late(voice_session):\n    turn = await voice_session.say("What is the weather like?")\n'
            "    assert turn.voice_to_voice_ms < 400\n\n\n"
            "def test_plain(voice_session):\n    voice_session.say('x')\n\n\n"
            "@pytest.mark.voice(colour='red')\nasync def test_marker(voice_session):\n    pass\n",
        },
    )
    done = run_pytest(tmp_path, "--continue-on-collection-errors", "--voice-runs=runs")
    out = done.stdout
    assert done.returncode == 1
    assert "bad.voice.yaml:2: unknown key 'turnz'; did you mean 'turns'?" in out
    assert re.search(r"late\.voice\.yaml:6: 'What is the weather like today\?': within 600 ms: \d+ ms", out)
    assert re.search(r"llm +\| *#+ *\| 900\.0 ms", out)
    assert "guilty: llm" in out
    recordings = {Path(name) for name in re.findall(r"\S+audio\.wav", out)}
    assert len(recordings) == 2
    assert all((tmp_path / name).is_file() for name in recordings)
    assert "must be 'async def'" in out
    assert "@pytest.mark.voice takes settings, llm" in out
    assert "pytest_plugin.py" not in out.split("test_late ____")[-1].split("def test_late")[0]


def test_a_script_is_the_same_on_every_run(tmp_path: Path) -> None:
    repository(tmp_path, **{"good.voice.yaml": SCRIPTS["good.voice.yaml"]})
    rows = []
    for name in ("one", "two"):
        assert run_pytest(tmp_path, f"--voice-runs={name}").returncode == 0
        (file,) = (tmp_path / name).glob("*/turns.jsonl")
        rows.append(file.read_bytes())
    assert rows[0] == rows[1] != b""


@pytest.mark.e2e
def test_real_mode_runs_the_same_files_with_real_models(tmp_path: Path, speech: Path) -> None:
    repository(
        tmp_path,
        **{
            "real.voice.yaml": f"""
llm: sim(ttft=100ms, tps=2314)
settings: {{llm.max_completion_tokens: 6}}
turns:
  - audio: {speech}/ask03.wav
    text: What is the capital of France?
    expect: {{within: 60s, heard: {{wer: 100%}}}}
"""
        },
        **{
            "test_real.py": """
import pytest


@pytest.mark.voice(llm="sim:ttft=100ms,tps=2314", settings={"llm.max_completion_tokens": 6})
async def test_real(voice_session):
    turn = await voice_session.say("What is the capital of France?")
    assert "france" in turn.user_text.lower()
    assert turn.voice_to_voice_ms < 60_000
    assert "user speech" in turn.simulated
    assert len(voice_session.heard) == 1


@pytest.mark.voice(replies=["Hello."])
async def test_doubled(voice_session):
    raise AssertionError("there is no doubled model in real mode")
"""
        },
    )
    done = run_pytest(tmp_path, "--voice-mode=real", "--voice-runs=runs", "--junitxml=out.xml", "-rs")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "2 passed, 1 skipped" in done.stdout
    assert "are for --voice-mode=deterministic" in done.stdout
    (run,) = tmp_path.glob("runs/real.voice.yaml*/run.json")
    checked = json.loads(run.read_text())["self_check"]
    assert checked["turns"] == 1  # real speech on a real line: there is something to check
    assert len(list(tmp_path.glob("runs/*/audio.wav"))) == 2


@pytest.mark.long
def test_the_built_wheel_in_a_fresh_environment_and_a_repository_without_our_sources(tmp_path: Path) -> None:
    """As a user has it: an environment of its own with the wheel and pytest in it, nothing imported, no checkout."""
    wheels, fresh, mine = (tmp_path / name for name in ("wheels", "fresh", "mine"))
    mine.mkdir()
    run = functools.partial(subprocess.run, check=True, capture_output=True, timeout=600)
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)], cwd=ROOT)
    (wheel,) = wheels.glob("*.whl")
    uv = [sys.executable, "-m", "uv", "--quiet"]
    python = fresh / "bin" / "python"
    run([*uv, "venv", "--python", sys.executable, str(fresh)])
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    run([*uv, "pip", "install", "--python", str(python), *constraints, f"{wheel}[local]", "pytest", "pytest-xdist"])
    repository(
        mine,
        **{"good.voice.yaml": SCRIPTS["good.voice.yaml"], "late.voice.yaml": SCRIPTS["late.voice.yaml"]},
        **{"test_mine.py": TESTS},
        **{
            "test_where.py": "import sys\nfrom pathlib import Path\n\nimport voice_agent\n\n\ndef test_where():\n"
            "    assert Path(voice_agent.__file__).is_relative_to(sys.prefix)\n"
            f"    assert Path(sys.prefix) == Path({str(fresh)!r})\n"
            f"    assert not any(Path(p) == Path({str(ROOT)!r}) for p in sys.path)\n"
        },
    )
    done = run_pytest(mine, "-n", "2", "--junitxml=out.xml", python=python)
    shutil.rmtree(fresh)  # some 600 MB, which pytest would keep for three runs
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-1000:]  # the late one, and only that
    assert re.search(r"1 failed, 6 passed\b(?!.*warning)", done.stdout), done.stdout[-3000:]
    assert "guilty: llm" in done.stdout
    cases = {case.get("name"): case for case in ET.parse(mine / "out.xml").iter("testcase")}
    assert {name for name, case in cases.items() if case.find("failure") is not None} == {"slow-model"}
    assert {"greeting", "test_answers", "test_mine", "test_where"} < set(cases)
    figures = {p.get("name"): float(p.get("value") or 0) for p in cases["greeting"].iter("property")}
    assert 150 < figures["turn 1 ms"] < 600
