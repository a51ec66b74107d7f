"""Ten minutes of conversation, the same to the last byte on every run and in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from voice_agent.budget.export import JsonlWriter
from voice_agent.clock import Clock
from voice_agent.config import load
from voice_agent.testing.doubles import conversation, run


def converse(path: Path, minutes: float) -> tuple[int, float]:
    """Talk for that long and write the ledger; returns the number of turns and the seconds of virtual time."""

    async def main(clock: Clock) -> tuple[int, float]:
        config = load(env={}, flags={"llm.spec": "sim:ttft=230ms,tps=90", "turn.record_evidence": "true"})
        began, number = clock.now(), 0
        async with conversation(clock, config, record=path.with_suffix(".wav")) as c:
            while clock.now() - began < minutes * 60:
                number += 1
                match number % 4:
                    case 0:
                        await c.say("To mute yourself", 0.9, "press star six on the phone.")
                    case 1:
                        await c.start(f"Tell me a story about town number {number}.")
                        await c.interrupt("No stop that please.", after=1.3)
                    case 2:
                        await c.say("I would like a table", 0.4, "for four people please.")
                    case _:
                        await c.say(f"What is the weather like on day {number}?")
                await c.silence(0.8)
        with JsonlWriter(path) as rows:
            for turn in c.ledger:
                rows.write(turn)
        return len(c.ledger), clock.now() - began

    return run(main)


@pytest.mark.parametrize("minutes", [1.0, pytest.param(10.0, marks=pytest.mark.long)])
def test_a_conversation_is_the_same_in_another_process(tmp_path: Path, minutes: float) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    root = str(Path(__file__).parents[3])
    other = subprocess.Popen(
        [sys.executable, __file__, str(there), str(minutes)],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": root},
        stderr=subprocess.PIPE,
    )
    try:
        turns, virtual_s = converse(here, minutes)
        _, said = other.communicate(timeout=600)
    finally:
        other.kill()
        other.wait()
    assert other.returncode == 0, said.decode()[-2000:]
    assert turns > 6 * minutes
    assert virtual_s >= minutes * 60
    assert here.read_bytes() == there.read_bytes()
    assert here.with_suffix(".wav").read_bytes() == there.with_suffix(".wav").read_bytes()


def test_half_a_minute_twice_in_one_process(tmp_path: Path) -> None:
    for name in ("first", "second"):
        converse(tmp_path / name, 0.5)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes() != b""


if __name__ == "__main__":
    converse(Path(sys.argv[1]), float(sys.argv[2]))
