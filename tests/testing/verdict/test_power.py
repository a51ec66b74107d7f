"""The study behind the verdict draws what it says: never a block on both sides, the same draw for the same seed."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from voice_agent.budget.ledger import Turn, TurnBuilder
from voice_agent.errors import UsageError
from voice_agent.testing.verdict.compare import VerdictOutcome
from voice_agent.testing.verdict.work import FIRST_SOUND_OWN_MS, PASS_OWN_MS, by_item

PROGRAM = Path(__file__).parents[3] / "scripts" / "bench_parts" / "verdict_power.py"


@pytest.fixture(scope="module")
def power() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verdict_power", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verdict_power"] = module
    spec.loader.exec_module(module)
    return module


def pool(power: ModuleType, rounds: int) -> list[Any]:
    """Turns without noise: only what is late on purpose differs."""
    found = []
    for number in range(rounds):
        for fault in (*power.FAULTS, ""):
            turns = tuple(turn(item, fault) for item in "abcd")
            found.append(power.Block(fault, number, turns, (20.0, 20.1, 19.9, 20.0)))
    return found


def turn(item: str, fault: str) -> Turn:
    late = {name: 0.04 if name == fault else 0.0 for name in ("stt", "turn", "llm", "tts", "output")}
    builder = TurnBuilder(item, item=item)
    content = 0.08 + late["llm"]
    at = {"speech_ended": 0.0, "transcript_ready": -0.1, "llm_requested": -0.09, "llm_first_content": content}
    at |= {"chunk_ready": content + 0.003, "tts_first_audio": content + 0.053 + late["tts"]}
    at["turn_committed"] = 0.19 + late["turn"]
    at["first_audible"] = max(at["tts_first_audio"], at["turn_committed"]) + 0.005 + late["output"]
    for mark, seconds in at.items():
        builder.mark(mark, 5.0 + seconds)
    builder.evidence.update({PASS_OWN_MS: 60.0 + late["stt"] * 1000, FIRST_SOUND_OWN_MS: 50.0 + late["tts"] * 1000})
    return builder.build()


def test_every_fault_is_found_where_nothing_else_differs(power: ModuleType) -> None:
    blocks = pool(power, 10)
    for fault, stage in power.FAULTS.items():
        verdict = power.decide(blocks, fault, 1, 5)
        assert verdict == power.decide(blocks, fault, 1, 5)
        if fault == power.NONE:
            assert verdict.outcome is VerdictOutcome.PASSED
        else:
            assert verdict.outcome is VerdictOutcome.REGRESSION
            assert verdict.guilty.measure == stage
    text = power.table(blocks, 2, 5)
    assert "| none | 0 of 2 | - |" in text
    assert "named in 10 of 10 (100%); false alarms in 0 of 2 (0%)" in text


def test_too_few_blocks_are_said(power: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="collect more rounds"):
        power.decide(pool(power, 3), "stt", 0, 5)
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
    played[0] = power.Block(played[0].fault, played[0].round, (turn("a", "llm"),), (8.0,))
    rows = [{"about": {"delay_ms": 40.0}}, *(block.row() for block in played)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = power.read_pool(file, about={"delay_ms": 40.0})
    assert [(b.fault, b.round, b.calibration_ms) for b in read] == [
        (b.fault, b.round, b.calibration_ms) for b in played
    ]
    found = {measure: items["a"][0] for measure, items in by_item(read[0].turns).items()}
    assert found == pytest.approx({measure: items["a"][0] for measure, items in by_item(played[0].turns).items()})
    assert found["llm"] == pytest.approx(210.0)
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
