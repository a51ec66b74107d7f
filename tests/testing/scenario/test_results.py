"""Baselines, run directories, JUnit and Markdown: what is written can be read again and holds no secret."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from voice_agent.budget.export import read_jsonl, to_row
from voice_agent.budget.ledger import Failure, Mark, Turn, TurnBuilder
from voice_agent.budget.turn_verdict import Budget
from voice_agent.clock import ManualClock
from voice_agent.config import load as load_config
from voice_agent.errors import ConfigError, UsageError
from voice_agent.testing.scenario.against_baseline import against, baseline_of
from voice_agent.testing.scenario.expect import Check
from voice_agent.testing.scenario.junit import junit, summary
from voice_agent.testing.scenario.results import (
    RUN,
    Result,
    StepResult,
    clear,
    read_run,
    rewrite_verdict,
    run_row,
    step_row,
    write_json,
)
from voice_agent.testing.verdict.baseline import Baseline, place, public_config, this_machine, versions
from voice_agent.testing.verdict.calibrate import Calibration
from voice_agent.testing.verdict.compare import VerdictOutcome
from voice_agent.testing.verdict.work import PASS_MS, TOTAL, by_item, work_ms


def row(number: int = 1, *, late_ms: float = 0.0, **evidence: Any) -> Turn:
    builder = TurnBuilder(number, item="1 a")
    at = {"transcript_ready": 50, "llm_requested": 60, "llm_first_content": 230 + late_ms, "chunk_ready": 235 + late_ms}
    at |= {"tts_first_audio": 300 + late_ms, "turn_committed": 250, "first_audible": 310 + late_ms}
    builder.mark(Mark.SPEECH_ENDED, 5.0)
    for mark, ms in at.items():
        builder.mark(mark, 5.0 + ms / 1000)
    builder.evidence.update(evidence)
    return builder.build()


def step(turn: Turn | None, *checks: Check, number: int = 0) -> StepResult:
    return StepResult(
        0, number, "speech", "hello \x00 <&>", 3, "hello", (1.0, 2.0), checks, turn, answered=turn is not None
    )


def result(folder: Path, *steps: StepResult) -> Result:
    return Result("x", "guards", Path("x.voice.yaml"), "script", 0, folder, steps=list(steps))


def test_work_is_what_each_stage_did() -> None:
    work = work_ms(row(stt_pass_ms=66.0, waited_ms=250.0, wanted_ms=180.0))
    assert PASS_MS == "stt_pass_ms"
    assert work == pytest.approx(
        {
            TOTAL: 310.0,
            "stt": 66.0,
            "dispatch": 10.0,
            "llm": 170.0,
            "chunk": 5.0,
            "tts": 65.0,
            "endpointing": 180.0,  # 250, less the 70 it gave to a reply that was not ready
            "output": 10.0,
        }
    )
    assert work_ms(row())["stt"] == pytest.approx(50.0)
    builder = TurnBuilder(1)
    builder.mark(Mark.SPEECH_ENDED, 1.0)
    builder.mark(Mark.FIRST_AUDIBLE, 1.2)
    builder.cut_off = True
    assert work_ms(builder.build()) == {}  # fast because it is wrong


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = result(tmp_path, *(step(row(n)) for n in range(6)), step(row(9), number=-1))
    run.calibration_ms = [20.123, 21.0]
    written = baseline_of(run, {"stt": {"model": "tiny.en"}})
    path = place(tmp_path / "base", "x")
    written.write(path)
    again = Baseline.read(path)
    assert again.turns == 6  # the warm-up does not count
    assert again.samples[TOTAL] == {"1 a": [310.0] * 6}
    assert again.machine["fingerprint"] == this_machine().fingerprint
    assert again.versions == versions()
    text = path.read_text()
    assert max(len(line) for line in text.splitlines()) <= 115
    assert yaml.safe_load(text)["schema"] == 2


@pytest.mark.parametrize(
    "text", ["", "- a", "schema: 9", "schema: 1", "schema: 2\nscenario: x", "{", "schema: 2\nsamples: 3"]
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"baseline|YAML"):
        Baseline.read(tmp_path / "b.yaml")
    with pytest.raises(UsageError, match="--update-baseline"):
        Baseline.read(tmp_path / "none.yaml")


def test_a_run_is_held_to_its_baseline(tmp_path: Path) -> None:
    before = baseline_of(result(tmp_path, *(step(row(n)) for n in range(8))), {})
    same = result(tmp_path, *(step(row(n)) for n in range(8)))
    assert against(same, before, tmp_path).outcome is VerdictOutcome.PASSED
    slow = result(tmp_path, *(step(row(n, late_ms=40.0)) for n in range(8)))
    slow.comparison = against(slow, before, tmp_path)
    assert slow.comparison.outcome is VerdictOutcome.REGRESSION
    assert slow.comparison.guilty is not None
    assert slow.comparison.guilty.measure == "llm"
    assert not slow.passed
    elsewhere = dataclasses.replace(before, machine={"cpu": "another", "fingerprint": "0"}, versions={"python": "3.0"})
    notes = " ".join(against(same, elsewhere, tmp_path).notes)
    assert "another machine (another)" in notes
    assert "python 3.0 ->" in notes


def test_the_run_directory(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    clear(folder)
    turn = row()
    bad = Check("within 300 ms", False, "310 ms")
    run = result(folder, step(turn, bad), step(row(2), number=-1))
    config = load_config(env={}, flags={"llm.api_key": "sk-very-secret-0123456789"})
    write_json(folder / RUN, run_row(run, {"config": public_config(config)}))
    text = (folder / RUN).read_text()
    assert "very-secret" not in text
    assert '"api_key": "***"' in text
    data = read_run(folder)
    assert (data["passed"], data["turns"]) == (False, 1)
    assert data["failures"] == [{"step": 0, "round": 0, "what": "within 300 ms", "ok": False, "said": "310 ms"}]
    run.comparison = against(run, baseline_of(run, {}), folder)
    rewrite_verdict(run)
    assert read_run(folder)["verdict"]["outcome"] == "inconclusive"
    assert json.loads(json.dumps(step_row(run.steps[0])))["turn"] == 1
    clear(folder)
    with pytest.raises(UsageError, match="not a run directory"):
        read_run(folder)


def test_turns_of_a_run_are_rows_of_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    path.write_text(json.dumps(to_row(row(stt_pass_ms=60.0), Budget())) + "\n")
    turns, problems = read_jsonl(path)
    assert not problems
    assert by_item(turns)["stt"] == {"1 a": [60.0]}


def test_junit_and_json(tmp_path: Path) -> None:
    good = result(tmp_path, step(row(), Check("answered", True, "yes")))
    bad = result(tmp_path, step(row(), Check("answered", True, "yes"), Check("within 1 ms", False, "310 | ms")))
    bad.whole = [Check("cut_offs at most 0", False, "1")]
    bad.comparison = against(bad, baseline_of(bad, {}), tmp_path)
    broken = result(tmp_path)
    broken.error = "no model"
    root = ElementTree.fromstring(junit([good, bad, broken]))
    counts = [(s.get("tests"), s.get("failures"), s.get("errors"), s.get("skipped")) for s in root]
    assert counts == [("1", "0", "0", "0"), ("3", "2", "0", "1"), ("1", "0", "1", "0")]
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert "x.voice.yaml:3" in (failure.text or "")
    found = summary([good, bad, broken])
    assert [entry["passed"] for entry in found["scripts"]] == [True, False, False]
    assert json.dumps(found)


def test_an_error_of_the_agent_counts_as_one(tmp_path: Path) -> None:
    builder = TurnBuilder(1)
    builder.error = Failure("X", "y")
    assert not result(tmp_path, step(builder.build(), Check("answered", False, "X: y"))).passed


def test_calibration_measures_the_work_on_its_clock() -> None:
    clock = ManualClock()
    found = Calibration(clock, lambda: clock.advance(0.02))
    assert [found.measure(), found.measure()] == pytest.approx([20.0, 20.0])
    assert len(found.samples_ms) == 2
    Calibration().measure()  # the real work runs
