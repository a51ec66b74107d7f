"""Does the verdict find a stage that got 40 ms slower, and only then? Faults injected for real, on this machine.

First it collects: the agent answers four questions over and over, in rounds. In each round every stage is late once
([debug] delay_stage, so really late) and none twice, in random order. Each block of four goes to a file at once: after
Ctrl-C what was collected is evaluated, and the same command continues where it stopped.

Then it evaluates: for each seed it draws a baseline from the rounds without a fault, and a run from those with one (or
from other rounds without), and compares them. The turns are real; which of them make up a run is drawn, so runs of
different seeds share turns. docs/verdict.md says what follows from that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voice_agent.budget.export import from_row, to_row
from voice_agent.budget.ledger import Turn
from voice_agent.budget.stats import percentile
from voice_agent.budget.turn_verdict import Budget
from voice_agent.clock import SYSTEM
from voice_agent.config import load, models
from voice_agent.errors import UsageError
from voice_agent.testing.harness.call_harness import call_harness
from voice_agent.testing.scenario.director import Director
from voice_agent.testing.scenario.harness_end import HarnessEnd
from voice_agent.testing.scenario.results import StepResult
from voice_agent.testing.scenario.script_file import parse
from voice_agent.testing.scenario.stage_timing import StageTiming
from voice_agent.testing.scenario.utterances import UtteranceSource
from voice_agent.testing.verdict.baseline import this_machine, versions
from voice_agent.testing.verdict.calibrate import Calibration
from voice_agent.testing.verdict.compare import Comparison, VerdictOutcome, compare
from voice_agent.testing.verdict.work import OTHERS, by_item

NONE = ""
SETTINGS: dict[str, Any] = {
    "stt.model": "tiny.en",
    "llm.spec": "sim:ttft=170ms,tps=2314",
    "llm.max_completion_tokens": 3,
}
FAULTS = {NONE: "-", "stt": "stt", "turn": "endpointing", "llm": "llm", "tts": "tts", "output": "output"}
"""The value of delay_stage, and the stage that the verdict must name."""
BEGIN, END = "<!-- scripts/bench verdict -->", "<!-- end -->"
SCRIPT = """
name: verdict-power
gap: 300ms
turns:
  - audio: ask01.wav
  - audio: ask02.wav
  - audio: ask03.wav
  - audio: ask04.wav
"""


@dataclass(frozen=True, slots=True)
class Block:
    """Four questions in a row under one condition: their rows of the ledger, and the fixed work after each."""

    fault: str
    round: int
    turns: tuple[Turn, ...]
    calibration_ms: tuple[float, ...]

    def row(self) -> dict[str, Any]:
        """As a line of the pool."""
        rows = [to_row(turn, Budget()) for turn in self.turns]
        return {"fault": self.fault, "round": self.round, "calibration_ms": self.calibration_ms, "turns": rows}


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--seeds", type=int, default=20, metavar="N", help="seeds for each fault (default 20)")
    verb.add_argument("--rounds", type=int, default=12, metavar="N", help="rounds to collect, about 100 s each (12)")
    verb.add_argument("--blocks", type=int, default=5, metavar="K", help="blocks of four turns in a run (default 5)")
    verb.add_argument(
        "--disturb", type=int, default=0, metavar="N", help="other programs that compute in bursts meanwhile (0)"
    )
    verb.add_argument("--delay", type=float, default=40.0, metavar="MS", help="how late the stage is (default 40)")
    verb.add_argument(
        "--pool", type=Path, default=Path("out/verdict_pool.jsonl"), metavar="FILE", help="turns collected"
    )
    verb.add_argument("--fresh", action="store_true", help="throw the turns of --pool away first")
    verb.add_argument(
        "--into", type=Path, metavar="PAGE", help="put the table into this page (docs/verdict.md), between its marks"
    )
    verb.add_argument("--judge-only", action="store_true", help="do not collect: evaluate the turns of --pool")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if not args.judge_only:
        args.pool.parent.mkdir(parents=True, exist_ok=True)
        if args.fresh:
            args.pool.unlink(missing_ok=True)
        about = _about(args.delay, args.disturb)
        had = read_pool(args.pool, about=about) if args.pool.exists() else []
        with disturbed(args.disturb):
            asyncio.run(_collect(args.pool, missing(had, args.rounds), about))
    blocks = read_pool(args.pool)
    text = table(blocks, args.seeds, args.blocks, disturb=_made(args.pool)[0].get("disturb", 0))
    print(text)
    if args.into is not None:
        put(args.into, text)
        print(f"\nwritten into {args.into}")
    return 0


@contextlib.contextmanager
def disturbed(programs: int) -> Iterator[None]:
    """While ``programs`` others (disturb.py) take the processor in bursts, each half of the time."""
    program = Path(__file__).with_name("disturb.py")
    running = [subprocess.Popen([sys.executable, str(program), str(seed)]) for seed in range(programs)]
    try:
        yield
    finally:
        for other in running:
            other.kill()
            other.wait()


def _about(delay_ms: float, disturb: int) -> dict[str, Any]:
    """What turns of one pool have in common."""
    machine = this_machine()
    cpu = f"{machine.cpu}, {machine.cores} cores"
    return {
        "delay_ms": delay_ms,
        "disturb": disturb,
        "settings": SETTINGS,
        "script": SCRIPT,
        "cpu": cpu,
        "versions": versions(),
    }


def missing(blocks: Sequence[Block], rounds: int) -> list[tuple[int, str]]:
    """The blocks that are still to be collected, as (round, fault), in the order in which they are played."""
    had = Counter((block.round, block.fault) for block in blocks)
    wanted = []
    for number in range(rounds):
        order = [*FAULTS, NONE]
        random.Random(number).shuffle(order)
        for fault in order:
            if had[number, fault]:
                had[number, fault] -= 1
            else:
                wanted.append((number, fault))
    return wanted


async def _collect(pool: Path, wanted: Sequence[tuple[int, str]], about: dict[str, Any]) -> None:
    if not wanted:
        return
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    config = load(flags={**SETTINGS, "debug.delay_stage": "stt", "debug.delay_ms": about["delay_ms"]})
    script = parse(SCRIPT, models.assets() / "speech" / "verdict-power.voice.yaml")
    calibration = await asyncio.get_running_loop().run_in_executor(None, Calibration)
    with pool.open("a") as out:
        timing = StageTiming(config.debug, SYSTEM)  # the switch of the delay, too
        async with call_harness(config, hooks=timing, on_note=lambda text: print(text, file=sys.stderr)) as s:
            steps: list[StepResult] = []
            end = HarnessEnd(s, timing)
            director = Director(script, end, UtteranceSource(config.tts.voice), calibration, steps.append)
            timing.stage = NONE
            await director.play(0, 2)  # warm-up
            if not out.tell():
                out.write(json.dumps({"about": about}) + "\n")
            try:
                for place, (number, fault) in enumerate(wanted, 1):
                    steps.clear()
                    calibration.samples_ms.clear()
                    timing.stage = fault
                    await director.play(1, 0)
                    block = _block(fault, number, steps, calibration.samples_ms)
                    out.write(json.dumps(block.row()) + "\n")
                    out.flush()
                    print(f"block {place} of {len(wanted)}", file=sys.stderr)
            except asyncio.CancelledError:
                print("interrupted: what was collected is evaluated", file=sys.stderr)


def _block(fault: str, number: int, steps: Sequence[StepResult], calibration_ms: Sequence[float]) -> Block:
    return Block(fault, number, tuple(step.row for step in steps if step.row is not None), tuple(calibration_ms))


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no turns to evaluate ({error}); collect some first") from None


def _made(path: Path) -> list[dict[str, Any]]:
    """How the turns of a file were collected; one answer, unless somebody joined two files."""
    return [row["about"] for row in _rows(path) if "about" in row] or [{}]


def read_pool(path: Path, *, about: dict[str, Any] | None = None) -> list[Block]:
    """The blocks of a file. Raises UsageError if it cannot be read, or holds turns of another kind than ``about``."""
    rows = _rows(path)
    if about is not None and _made(path) != [about]:
        raise UsageError(f"{path}: its turns were collected in another way; --fresh throws them away")
    return [
        Block(row["fault"], row["round"], tuple(map(from_row, row["turns"])), tuple(row["calibration_ms"]))
        for row in rows
        if "about" not in row
    ]


def decide(blocks: Sequence[Block], fault: str, seed: int, size: int) -> Comparison:
    """One comparison: ``size`` blocks without a fault against ``size`` with ``fault``, none of them twice."""
    rng = random.Random(f"{fault}/{seed}")
    clean = [block for block in blocks if block.fault == NONE]
    rng.shuffle(clean)
    before = clean[:size]
    others = clean[size:] if fault == NONE else [block for block in blocks if block.fault == fault]
    after = rng.sample(others, size) if len(others) >= size else []
    if len(before) < size or not after:
        raise UsageError(f"too few blocks for {size} on each side (fault {fault or 'none'}): collect more rounds")
    return compare(
        by_item([turn for block in before for turn in block.turns]),
        by_item([turn for block in after for turn in block.turns]),
        calibration=(_calibration(before), _calibration(after)),
        cut_offs=(sum(t.cut_off for b in before for t in b.turns), sum(t.cut_off for b in after for t in b.turns)),
        seed=seed,
    )


def _calibration(blocks: Sequence[Block]) -> list[float]:
    return [ms for block in blocks for ms in block.calibration_ms]


def table(blocks: Sequence[Block], seeds: int, size: int, *, disturb: int = 0) -> str:
    """A line a fault: how often it was found and the right stage named; without a fault, the false alarms."""
    lines = [
        "| late stage | regression called | right stage named | inconclusive | not ours: machine |",
        "|---|---|---|---|---|",
    ]
    named = false_alarms = 0
    for fault, expected in FAULTS.items():
        verdicts: list[Comparison] = [decide(blocks, fault, seed, size) for seed in range(seeds)]
        called = [v for v in verdicts if v.outcome is VerdictOutcome.REGRESSION]
        right = sum(v.guilty is not None and v.guilty.measure == expected for v in called)
        named += right
        false_alarms += len(called) if fault == NONE else 0
        cells: list[Any] = [
            fault or "none",
            f"{len(called)} of {seeds}",
            "-" if fault == NONE else f"{right} of {seeds}",
            sum(v.outcome is VerdictOutcome.INCONCLUSIVE for v in verdicts),
            sum(v.outcome is VerdictOutcome.MACHINE for v in verdicts),
        ]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    late = seeds * (len(FAULTS) - 1)
    work = _calibration(blocks)
    low, median, high = (percentile(work, q) for q in (25, 50, 75))
    taken = [ms for of_item in by_item([t for b in blocks for t in b.turns]).get(OTHERS, {}).values() for ms in of_item]
    others = f" {disturb} programs computed in bursts meanwhile, on purpose." if disturb else ""
    if taken:
        others += (
            f" Other programs had the processor for {np.median(taken):.0f} ms of a pass and a first sound (median;"
            f" {percentile(taken, 90):.0f} in one turn of ten)."
        )
    return "\n".join(
        [
            f"{size} blocks of four turns on each side, {seeds} seeds,"
            f" {sum(len(b.turns) for b in blocks)} turns collected; the machine's fixed work varied by"
            f" {(high - low) / median:.0%} (middle half), {max(work) / median:.1f} times as long at worst.{others}",
            "",
            *lines,
            "",
            f"The right stage was named in {named} of {late} ({named / late:.0%});"
            f" false alarms in {false_alarms} of {seeds} ({false_alarms / seeds:.0%}).",
        ]
    )


def put(page: Path, text: str) -> None:
    """Replace what stands between the marks of ``page``. Raises UsageError if they are not there."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UsageError(f"{page}: no place for the table: write {BEGIN} and {END} into it, a line each")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
