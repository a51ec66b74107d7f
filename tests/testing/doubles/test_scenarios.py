"""The shipped scripts on virtual time: every one of them passes, in seconds."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import pytest

from voice_agent.clock import Clock
from voice_agent.config import Config
from voice_agent.testing.doubles.llm import Reply, canned
from voice_agent.testing.doubles.scenarios import ScriptedUtteranceSource, run_deterministic
from voice_agent.testing.doubles.scripted_stages import ScriptedStages, deterministic
from voice_agent.testing.doubles.world import run
from voice_agent.testing.report.read_runs import load as load_runs
from voice_agent.testing.scenario.configured import configured
from voice_agent.testing.scenario.harness_end import HarnessTarget
from voice_agent.testing.scenario.results import Result, StepResult
from voice_agent.testing.scenario.runner import run_script
from voice_agent.testing.scenario.script_file import load, parse

SHIPPED = sorted((Path(__file__).parents[3] / "assets" / "scenarios").glob("*.voice.yaml"))


def test_there_are_scripts() -> None:
    assert len(SHIPPED) >= 15


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name.split(".")[0])
def test_a_shipped_script(path: Path, tmp_path: Path) -> None:
    result = run_deterministic(load(path), Config(), tmp_path)
    assert result.passed, [(step and step.name, check) for step, check in result.failures]


def test_the_tools_that_are_expected_are_called(tmp_path: Path) -> None:
    text = """
name: tools
tools: [{name: weather, args: [city], returns: rain}]
turns:
  - say: What is the weather in Paris?
    expect: {tool_called: {name: weather, args: {city: Paris}}}
"""
    result = run_deterministic(parse(text, tmp_path / "t.voice.yaml"), Config(), tmp_path / "run")
    assert result.passed, result.failures
    assert result.steps[0].calls == (("weather", {"city": "Paris"}),)


def test_every_file_of_a_run_is_the_same_again(tmp_path: Path) -> None:
    text = "turns:\n  - say: [I would like to book a, {hold: 0.6s}, table for two.]\n  - say: What does it cost?\n"
    script = parse(text, tmp_path / "t.voice.yaml")
    runs = []
    for name in ("one", "two"):
        folder = tmp_path / name
        assert run_deterministic(script, Config(), folder).passed
        runs.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert set(runs[0]) == {"run.json", "steps.jsonl", "turns.jsonl", "audio.wav"}
    assert [name for name in runs[0] if runs[0][name] != runs[1].get(name)] == []


def test_what_was_measured_is_kept_when_it_is_stopped(tmp_path: Path) -> None:
    """Ctrl-C cancels the task in the third step; two steps, their rows and the recording stay, and run.json says so."""
    script = parse(
        "turns:\n" + "".join(f"  - say: Question number {n}?\n" for n in range(5)), tmp_path / "t.voice.yaml"
    )
    wanted = deterministic(configured(Config(), script.scenario))

    async def main(clock: Clock) -> Result:
        task = asyncio.current_task()
        assert task is not None
        done: list[StepResult] = []

        def over(step: StepResult) -> None:
            done.append(step)
            if len(done) == 2:
                asyncio.get_running_loop().call_later(1.5, task.cancel)

        parts = ScriptedStages(wanted, clock, replies=lambda text: Reply(canned(text)))
        folder = tmp_path / "run"
        return await run_script(
            script,
            wanted,
            folder,
            target=HarnessTarget(parts.pool, clock),
            utterance_source=ScriptedUtteranceSource(),
            clock=clock,
            on_step=over,
        )

    result = run(main)
    assert result.interrupted
    assert not result.passed
    (loaded,) = load_runs([tmp_path / "run"])
    assert loaded.result.interrupted
    assert [step.name for step in loaded.result.steps] == ["Question number 0?", "Question number 1?"]
    assert [turn.user_text.strip("?").lower() for turn in loaded.turns] == ["question number 0", "question number 1"]
    assert len(loaded.latencies_ms) == 2
    assert loaded.recording is not None
    with wave.open(str(loaded.recording)) as sound:
        assert sound.getnframes() / sound.getframerate() > 4
