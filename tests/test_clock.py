from __future__ import annotations

import re
from pathlib import Path

import pytest

import voice_agent
from voice_agent.clock import SYSTEM, ManualClock, from_wall


def test_the_system_clock_never_goes_back() -> None:
    times = [SYSTEM.now() for _ in range(1000)]
    assert times == sorted(times)


def test_a_manual_clock_moves_only_when_told_to() -> None:
    clock = ManualClock(5.0)
    assert (clock.now(), clock.now(), clock.wall()) == (5.0, 5.0, 5.0)
    clock.advance(0.25)
    clock.advance(0.0)
    assert clock.now() == 5.25


def test_a_manual_clock_cannot_go_back() -> None:
    clock = ManualClock(5.0)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-0.001)
    assert clock.now() == 5.0


class Shifted(ManualClock):
    """A calendar that runs an hour ahead of the line."""

    def wall(self) -> float:
        return self.now() + 3600.0


@pytest.mark.parametrize("ago_s", [0.0, 0.5, 7.0, -0.25])
def test_a_calendar_time_is_placed_on_the_line(ago_s: float) -> None:
    clock = Shifted(100.0)
    assert from_wall(clock.wall() - ago_s, clock) == pytest.approx(100.0 - ago_s)


def test_no_other_module_reads_the_time() -> None:
    package = Path(voice_agent.__file__).parent
    reads = re.compile(r"^\s*(import time\b|from time import)|datetime\.now|\.utcnow|date\.today", re.MULTILINE)
    guilty = [p.name for p in package.rglob("*.py") if p.name != "clock.py" and reads.search(p.read_text())]
    # The pacing double is a program of its own, in a process of its own; the virtual clock leads LiveKit's calls of it.
    assert sorted(set(guilty) - {"sim_server.py", "world.py"}) == []
