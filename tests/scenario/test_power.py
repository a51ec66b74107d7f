"""The study behind the verdict draws what it says: never a block on both sides, the same draw for the same seed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections import Counter
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
    text = power.table(blocks, 2, 5)
    assert "| none | 0 of 2 | - |" in text
    assert "named in 10 of 10 (100%); wolf was cried in 0 of 2 (0%)" in text


def test_too_few_blocks_are_said(power: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="collect more rounds"):
        power.judge(pool(power, 3), "stt", 0, 5)
    with pytest.raises(UsageError, match="collect some first"):
        power.read_pool(tmp_path / "none.jsonl")


def test_a_collection_goes_on_where_it_stopped(power: ModuleType, tmp_path: Path) -> None:
    wanted = power.missing([], 3)
    assert len(wanted) == 3 * 7
    assert Counter(wanted) == Counter((n, fault) for n in range(3) for fault in (*power.FAULTS, power.NONE))
    played = [power.Block(fault, number, (), ()) for number, fault in wanted[:8]]
    assert power.missing(played, 3) == wanted[8:]
    assert power.missing([power.Block(fault, number, (), ()) for number, fault in wanted], 3) == []
    file = tmp_path / "pool.jsonl"
    rows = [{"about": {"delay_ms": 40.0}}, *(dataclasses.asdict(block) for block in played)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert power.read_pool(file, about={"delay_ms": 40.0}) == played
    with pytest.raises(UsageError, match="--fresh"):
        power.read_pool(file, about={"delay_ms": 20.0})


def test_the_table_goes_to_its_place_in_the_page(power: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{power.BEGIN}\nold\n{power.END}\nbelow\n")
    for _ in range(2):
        power.put(page, "| new |")
        assert page.read_text() == f"above\n{power.BEGIN}\n| new |\n{power.END}\nbelow\n"
    page.write_text("nothing\n")
    with pytest.raises(UsageError, match="no place for the table"):
        power.put(page, "x")
    assert power.BEGIN in (PROGRAM.parents[2] / "docs" / "verdict.md").read_text()
