"""What of ``scripts/bench`` can be wrong without anything being measured."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from voice_agent.errors import UsageError

PARTS = Path(__file__).parents[1] / "scripts" / "bench_parts"


def part(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PARTS))
    return importlib.import_module(name)


def rows(degradation: ModuleType, *flags: str) -> list[str]:
    parser = argparse.ArgumentParser()
    degradation.add(parser)
    return [name for name, _ in degradation.wanted_rows(parser.parse_args(flags))]


def test_rows_are_named_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    degradation = part("degradation", monkeypatch)
    tail = ("--scenario", "tail")
    assert rows(degradation, *tail, "--rows", "all") == ["tail/all (default)"]
    assert rows(degradation, *tail, "--rows", "nothing, 1 hedge") == ["tail/nothing", "tail/1 hedge"]
    assert rows(degradation, *tail, "--rows", "hedge") == ["tail/1 hedge"]
    assert len(rows(degradation, *tail)) == 7
    assert rows(degradation, *tail, "--real", "5") == ["tail/nothing, real time", "tail/all (default), real time"]
    assert rows(degradation, "--rows", "breaker") == ["outage/5 breaker"]
    with pytest.raises(UsageError, match="no row 'small'; there are nothing, hedge, smaller first chunk"):
        rows(degradation, *tail, "--rows", "small")


def test_the_table_of_a_long_conversation_tells_a_lost_cache_from_a_slow_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = part("conversation_length", monkeypatch)
    usual = [bench.TurnTiming(turn, 300.0, 500, 30, 210.0) for turn in range(1, 21)]
    lost = [bench.TurnTiming(turn, 3600.0, 500, 500, 3500.0) for turn in range(21, 31)]
    slow = [bench.TurnTiming(turn, 700.0, 500, 30, 600.0) for turn in range(31, 41)]
    _, _, first, second = bench.table([*usual, *lost, *slow]).splitlines()
    assert first == "| 1-20 | 20 | 300 | 300 | 500 | 30 | 30 | 7.0 |"
    assert second == "| 21-40 | 20 | 2150 | 3600 | 500 | 265 | 500 | 13.5 |"
