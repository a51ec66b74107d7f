"""The three kinds of runs, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voice_agent.budget.export import JsonlWriter
from voice_agent.budget.turn_verdict import Budget
from voice_agent.errors import ConfigError, UsageError, VoiceAgentError
from voice_agent.talk.save import RECORDING
from voice_agent.testing.report.read_runs import compared, comparison_of, load, pairs
from voice_agent.testing.scenario.junit import junit
from voice_agent.testing.scenario.results import RUN, STEPS, TURNS, comparison_row
from voice_agent.testing.verdict.compare import VerdictOutcome

from .conftest import Make, turn_of, write_wav


def test_a_run_directory_is_as_the_runner_had_it(make: Make) -> None:
    (run,) = load([make(turns=13, late_ms=150.0)])
    assert (run.kind, run.name, run.result.guards) == ("test", "hotel", "a caller who asks is served")
    assert len(run.turns) == 13
    assert len(run.counted) == 12  # the first step was for warming up
    assert len(run.result.steps) == 14
    assert [step.row for step in run.result.steps[:13]] == run.turns
    cut = 1  # turn 13
    assert len(run.latencies_ms) == 12 - cut
    assert run.result.intervals["p50_ms"].n == len(run.latencies_ms)
    late = [step for step in run.result.counted if step.failed]
    assert 0 < len(late) < 12
    xml = junit([run.result])
    assert f'failures="{len(late)}"' in xml
    assert "hotel.voice.yaml:4" in xml or "hotel.voice.yaml:5" in xml


def test_a_folder_of_runs_stands_for_them_all(make: Make, tmp_path: Path) -> None:
    make("b")
    make("a")
    assert [run.name for run in load([tmp_path / "runs"])] == ["a", "b"]


def test_a_saved_call_and_a_file_of_rows(tmp_path: Path) -> None:
    call = tmp_path / "monday"
    with JsonlWriter(call / TURNS, Budget(total_ms=321.0)) as writer:
        for number in (1, 2, 13):
            writer.write(turn_of(number))
    (loaded,) = load([call])
    assert (loaded.kind, loaded.name, loaded.recording) == ("talk", "monday", None)
    assert loaded.budget.total_ms == 321.0
    assert [step.failed for step in loaded.result.steps] == [False, False, True]  # the 13th was cut off
    write_wav(call / RECORDING, b"\0\0\0\0")
    assert load([call])[0].recording == call / RECORDING
    rows = tmp_path / "x.jsonl"
    rows.write_bytes((call / TURNS).read_bytes() + b"{torn")
    (plain,) = load([rows])
    assert (plain.kind, plain.name, len(plain.turns)) == ("script", "x", 3)
    assert "torn" in plain.problems[0]


def test_what_is_no_run_is_refused_with_advice(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such run"):
        load([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no run in it"):
        load([tmp_path / "empty"])
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UsageError, match="no turn"):
        load([tmp_path / "empty.jsonl"])
    folder = make()
    facts = json.loads((folder / RUN).read_text())
    for wrong in ({"self_check": None}, {"figures": 3}, {"schema": 9}):
        (folder / RUN).write_text(json.dumps({**facts, **wrong}))
        with pytest.raises(ConfigError):
            load([folder])
    (folder / RUN).write_text("{")
    with pytest.raises(VoiceAgentError):
        load([folder])


def test_a_damaged_step_is_passed_over_and_told(make: Make) -> None:
    folder = make(turns=3)
    with (folder / STEPS).open("a") as stream:
        stream.write("{torn")
    (run,) = load([folder])
    assert len(run.result.steps) == 4
    assert "steps.jsonl line 5" in run.problems[0]


def test_two_runs_of_a_script_are_compared(make: Make) -> None:
    before, after, other = load([make(in_="old"), make(in_="new", late_ms=60.0), make("else")])
    ((first, last, verdict),) = pairs([before, after, other])
    assert (first, last) == (before, after)
    assert verdict.outcome is VerdictOutcome.REGRESSION
    assert verdict.guilty is not None
    assert verdict.guilty.measure == "llm"
    assert compared(before, before).outcome is VerdictOutcome.PASSED
    assert pairs([before, other])[0][:2] == (before, other)  # two were named
    assert pairs([before]) == []
    again = comparison_of(json.loads(json.dumps(comparison_row(verdict))))
    assert again == verdict
