"""The study behind the verdict draws what it says: never a block on both sides, the same draw for the same seed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from voice_agent.errors import UsageError
from voice_agent.scenario.compare import Outcome

PROGRAM = Path(__file__).parents[2] / "scripts" / "bench_parts" / "verdict_power.py"


@pytest.fixture(scope="module")
def power() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verdict_power", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verdict_power"] = module
    spec.loader.exec_module(module)
    return module


def pool(power: ModuleType, rounds: int) -> list[object]:
    """Turns without noise: only what is late on purpose differs."""
    found = []
    for number in range(rounds):
        for fault, stage in (*power.FAULTS.items(), ("", "-")):
            usual = {"stt": 60.0, "llm": 170.0, "tts": 50.0, "endpointing": 190.0, "output": 5.0}
            late = {name: ms + (40.0 if name == stage else 0.0) for name, ms in usual.items()}
            turns = tuple((item, {**late, "voice to voice": sum(late.values())}) for item in "abcd")
            found.append(power.Block(fault, number, turns, (20.0, 20.1, 19.9, 20.0)))
    return found


def test_every_fault_is_found_where_nothing_else_differs(power: ModuleType) -> None:
    blocks = pool(power, 10)
    for fault, stage in power.FAULTS.items():
        verdict = power.judge(blocks, fault, 1, 5)
        assert verdict == power.judge(blocks, fault, 1, 5)
        if fault == power.NONE:
            assert verdict.outcome is Outcome.PASSED
        else:
            assert verdict.outcome is Outcome.REGRESSION
            assert verdict.guilty.measure == stage
    assert "| none | 0 of 2 | - |" in power.table(blocks, 2, 5)


def test_too_few_blocks_are_said(power: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="collect more rounds"):
        power.judge(pool(power, 3), "stt", 0, 5)
    with pytest.raises(UsageError, match="collect some first"):
        power.read_pool(tmp_path / "none.jsonl")
