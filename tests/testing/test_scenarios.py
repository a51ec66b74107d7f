"""The shipped scripts on virtual time: every one of them passes, in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from voice_agent.config import Config
from voice_agent.scenario.load import load, parse
from voice_agent.testing.scenarios import run_deterministic

SHIPPED = sorted((Path(__file__).parents[2] / "assets" / "scenarios").glob("*.voice.yaml"))


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
