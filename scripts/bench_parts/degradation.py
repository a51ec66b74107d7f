"""What is done when a turn is late: each rung alone and all together, against a double with a heavy tail.

Real: the session, the turn policy, the clients, the hedge, the chunks, the ledger. Doubled: user, ears, voice and the
providers, whose times are drawn. Virtual time: the same figures on any machine. ``--real N``: N turns in real time
instead, with the real Whisper and Piper and the double in a process of its own (rows "nothing" and "all", or those
that ``--rows`` names).

What has been measured is kept at once, a line each in DIR/degradation.jsonl: stop it, and ``--resume`` measures
the rest. ``--table`` prints what is kept. More than one row prints one table: virtual and real rows under one another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import signal
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tables import markdown, ms, percentile, write_lines

from voice_agent.clock import Clock
from voice_agent.config import Config, FlagValue, load
from voice_agent.errors import UsageError
from voice_agent.testing.doubles import Reply, ScriptError, conversation, run
from voice_agent.testing.doubles.conversation import Conversation, real_conversation

OFF: Mapping[str, FlagValue] = {
    "degradation.hedge": False, "degradation.small_first": False, "degradation.acknowledge": False,
    "degradation.degrade": False,
    "degradation.breaker": False,
}  # fmt: skip
TAIL = "sim:ttft=lognormal(170ms,0.4),stall=5%x3s,tps=2314"
SLOW = "sim:ttft=lognormal(420ms,0.2),tps=59"
OUT = "sim:ttft=170ms,error=503"
GOOD = "sim:ttft=lognormal(170ms,0.4),tps=2314"
ALL = "all (default)"
CALL_TURNS = 100
"""Turns of one call; each call has draws and a history of its own."""
QUESTIONS = (
    "What is the weather like today?", "Please book a table for two.", "How far is it to the station?",
    "I would like to change my order.", "Where can I buy a ticket?", "Tell me about the old bridge.",
)  # fmt: skip


LONG_STARTS = (
    "The old bridge over the wide river was built by the people of this town about a hundred years ago.",
    "You can take the number five bus from the corner of the main street to the station every ten minutes.",
)
"""What the slow model says: canned replies begin with a short clause, which no rung can make shorter."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row: a scenario's models, and what is switched on."""

    name: str
    llm: str
    on: Mapping[str, FlagValue] = field(default_factory=dict)
    share: int = 1
    """Of the turns asked for, one in so many is enough."""

    @property
    def short(self) -> str:
        """The name without its number and what is said in brackets: ``all`` of ``all (default)``."""
        return re.sub(r"^\d+ | \(.*\)$", "", self.name)


def _on(*names: str, **more: FlagValue) -> dict[str, FlagValue]:
    only = {f"degradation.{name}": True for name in names}
    return {**OFF, **only, **{k.replace("__", "."): v for k, v in more.items()}}


SCENARIOS: Mapping[str, tuple[str, tuple[Case, ...]]] = {
    "tail": (
        "5 % of the requests stall for 3 s; time to first token log-normal around 170 ms (sigma 0.4); 2,314 tok/s",
        (
            Case("nothing", TAIL, _on()),
            Case("1 hedge", TAIL, _on("hedge")),
            Case("2 smaller first chunk", TAIL, _on("small_first")),
            Case("3 acknowledge", TAIL, _on("acknowledge")),
            Case("4 degrade", TAIL, _on("degrade")),
            Case("5 give up after 2 s", TAIL, _on("breaker", degradation__give_up_ms=2000)),
            Case(ALL, TAIL, {}),
        ),
    ),
    "slow": (
        "a slow model: log-normal around 420 ms (sigma 0.2), 59 tok/s; second provider: 170 ms, 2,314 tok/s",
        (
            Case("nothing", SLOW, _on(), 10),
            Case("2 smaller first chunk", SLOW, _on("small_first"), 10),
            Case("4 degrade to the second provider", SLOW, _on("degrade", llm__hedge=GOOD), 10),
            Case(ALL, SLOW, {"llm.hedge": GOOD}, 10),
        ),
    ),
    "outage": (
        "the first provider answers 503 after 170 ms; second provider: log-normal around 170 ms, 2,314 tok/s",
        (
            Case("nothing", OUT, _on(), 10),
            Case("5 breaker", OUT, _on("breaker"), 10),
            Case("second provider, no breaker", OUT, _on("hedge", llm__hedge=GOOD), 10),
            Case(ALL, OUT, {"llm.hedge": GOOD}, 10),
        ),
    ),
}


@dataclass(slots=True)
class Found:
    """What the turns of one row came to. Times in seconds."""

    answers: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    turns: int = 0
    failed: int = 0
    gaps: int = 0
    cut_offs: int = 0
    degradation_steps: Counter[str] = field(default_factory=lambda: Counter[str]())
    counts: Counter[str] = field(default_factory=lambda: Counter[str]())

    def add(self, other: Found) -> None:
        self.answers += other.answers
        self.firsts += other.firsts
        self.turns += other.turns
        self.failed += other.failed
        self.gaps += other.gaps
        self.cut_offs += other.cut_offs
        self.degradation_steps += other.degradation_steps
        self.counts += other.counts

    @property
    def extra_share(self) -> float:
        needed = self.counts["tokens"] - self.counts["extra_tokens"]
        return self.counts["extra_tokens"] / needed if needed else 0.0

    def line(self) -> dict[str, Any]:
        """As JSON; :meth:`of` reads it back."""
        return {**asdict(self), "rungs": dict(self.degradation_steps), "counts": dict(self.counts)}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Found:
        known = {name: row[name] for name in ("answers", "firsts", "turns", "failed", "gaps", "cut_offs")}
        return cls(**known, degradation_steps=Counter(row["rungs"]), counts=Counter(row["counts"]))

    def cells(self, name: str) -> list[object]:
        p50, p95, p99 = (percentile(self.answers, q) for q in (50, 95, 99))
        return [
            name, self.turns, ms(p50), ms(p95), ms(p99), ms(percentile(self.firsts, 99)), self.failed,
            f"{100 * self.counts['hedged'] / max(1, self.counts['answers']):.1f} %", f"{100 * self.extra_share:.1f} %",
            self.counts["trials"], self.degradation_steps["acknowledge"],
            self.degradation_steps["small_first"], self.gaps,
        ]  # fmt: skip


HEAD = [
    "rungs", "turns", "P50", "P95", "P99", "P99 first sound", "failed", "requests hedged", "extra tokens",
    "trials", "acknowledged", "small first", "gaps",
]  # fmt: skip


KEPT = "degradation.jsonl"


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--n", type=int, default=2000, metavar="N", help="turns a row (default: %(default)s)")
    verb.add_argument("--scenario", default=",".join(SCENARIOS), metavar="A,B", help="(default: %(default)s)")
    verb.add_argument("--rows", metavar="A,B", help="only these rows, by name: 'hedge,all'")
    verb.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    verb.add_argument("--real", type=int, metavar="N", help="N turns a row in real time (rows: nothing, all)")
    verb.add_argument("--resume", action="store_true", help="go on with what an earlier, stopped run has kept")
    verb.add_argument("--table", action="store_true", help="measure nothing; print what is kept")
    verb.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    verb.set_defaults(run=run_bench)


def run_bench(args: argparse.Namespace) -> int:
    kept = Kept(args.out / KEPT)
    todo = [] if args.table else list(_wanted(args))
    if not args.resume:
        kept.forget(name for name, _ in todo)
    stopped = False
    try:
        for name, case in todo:
            if args.real is not None:
                real(case, args.real, kept, name)
            else:
                virtual(case, args.n // case.share, args.jobs, kept, name)
            print(f"bench: {name}: {kept.found[name].turns} turns", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        stopped = True
    print(kept.tables())
    if stopped:
        print(f"stopped; what has been measured is in {kept.path}, and --resume goes on from there", file=sys.stderr)
    return 130 if stopped else 0


def _wanted(args: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    """Scenario and row of each. Raises UsageError for a name that no row has."""
    names = [part.strip() for part in args.rows.split(",")] if args.rows else []
    cases = {name: SCENARIOS[name][1] for name in args.scenario.split(",")}
    known = dict.fromkeys(short for some in cases.values() for case in some for short in (case.name, case.short))
    if unknown := [name for name in names if name not in known]:
        rows = ", ".join(dict.fromkeys(case.short for some in cases.values() for case in some))
        raise UsageError(f"no row {unknown[0]!r}; there are {rows}")
    for scenario, some in cases.items():
        for case in some:
            named = case.name in names or case.short in names
            if named if names else args.real is None or case.name in ("nothing", ALL):
                yield f"{scenario}/{case.name}" + (REAL if args.real is not None else ""), case


class Kept:
    """What has been measured, a line a call (real time: a turn), by row; ``found``: added up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.found: dict[str, Found] = {}
        if path.exists():
            for line in map(json.loads, path.read_text().splitlines()):
                self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        self.found.setdefault(line["row"], Found()).add(Found.of(line))

    def add(self, row: str, seed: int, found: Found) -> None:
        """Written at once: whoever stops the run keeps it."""
        self._take({"row": row, "seed": seed, **found.line()})
        write_lines(self.path, self.lines[-1:])

    def forget(self, rows: Iterable[str]) -> None:
        gone = set(rows)
        lines = [line for line in self.lines if line["row"] not in gone]
        if len(lines) == len(self.lines):
            return
        self.path.unlink()
        write_lines(self.path, lines)
        self.lines, self.found = [], {}
        for line in lines:
            self._take(line)

    def calls(self, row: str) -> dict[int, int]:
        """Seed -> turns of that call."""
        return {line["seed"]: line["turns"] for line in self.lines if line["row"] == row}

    def tables(self) -> str:
        """One for each scenario, rows in the order of the scenario, virtual before real."""
        out = []
        for scenario, (about, cases) in SCENARIOS.items():
            names = [f"{scenario}/{case.name}{how}" for how in ("", REAL) for case in cases]
            rows = [self.found[name].cells(name.split("/", 1)[1]) for name in names if name in self.found]
            if rows:
                out.append(f"{about}; ms from the end of speech to the first sound\n\n{markdown(HEAD, rows)}\n")
        return "\n".join([*out, f"Simulated: {SIMULATED}. Lines: {self.path}"])


REAL = ", real time"
SIMULATED = "user, ears, voice, provider and time; in rows of real time: the provider, and the user (a Piper voice)"


def virtual(case: Case, turns: int, jobs: int, kept: Kept, row: str) -> None:
    """``turns`` in calls of CALL_TURNS, each in a run of its own; those that are kept already are not run again."""
    sizes = {seed: min(CALL_TURNS, turns - start) for seed, start in enumerate(range(0, turns, CALL_TURNS), 1)}
    done = kept.calls(row)
    with ProcessPoolExecutor(jobs, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        running = {pool.submit(call, case, seed, n): seed for seed, n in sizes.items() if seed not in done}
        try:
            for one in as_completed(running):
                kept.add(row, running[one], one.result())
        except KeyboardInterrupt:
            print("bench: stopping as soon as the calls under way are over", file=sys.stderr, flush=True)
            saved = kept.calls(row)
            for one in as_completed([one for one, seed in running.items() if not one.cancel() and seed not in saved]):
                kept.add(row, running[one], one.result())
            raise


def call(case: Case, seed: int, turns: int) -> Found:
    """One call in virtual time."""
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)  # failures are what some rows are about

    async def main(clock: Clock) -> Found:
        replies = _long_starts if case.llm == SLOW else None
        async with conversation(clock, settings(case, seed), replies=replies) as talk:
            return await spoken(talk, turns)

    return run(main)


def _long_starts(user_text: str) -> Reply:
    return Reply(LONG_STARTS[zlib.crc32(user_text.encode()) % len(LONG_STARTS)])


def real(case: Case, turns: int, kept: Kept, row: str) -> None:
    """One call in real time, with the real models; the provider is simulated. Resumed: a further call for the rest."""
    done = kept.found[row].turns if row in kept.found else 0
    if done >= turns:
        return
    seed = 1 + max(kept.calls(row), default=0)

    async def main() -> None:
        async with real_conversation(settings(case, seed)) as talk:
            # Whisper's "Where can I buy a ticket" is judged unfinished: its wait is the turn's, not the model's.
            questions = [q for q in QUESTIONS if not q.startswith("Where can")]
            await spoken(talk, turns - done, questions, lambda one: kept.add(row, seed, one))

    asyncio.run(main())


def settings(case: Case, seed: int) -> Config:
    def seeded(value: FlagValue, by: int) -> FlagValue:
        return f"{value},seed={by}" if isinstance(value, str) and value.startswith("sim:") else value

    # Short answers, so that two thousand of them take minutes; only the first words are timed. Of a slow model longer
    # ones: whether a gap follows the first words is seen in the next.
    tokens = 26 if "tps=59" in case.llm else 8
    flags: dict[str, FlagValue] = {"llm.max_completion_tokens": tokens, **case.on}
    flags = {key: seeded(value, 1000 + seed) for key, value in flags.items()}
    return load(env={}, flags={**flags, "llm.spec": seeded(case.llm, seed)})


async def spoken(
    talk: Conversation,
    turns: int,
    questions: Sequence[str] = QUESTIONS,
    each: Callable[[Found], None] = lambda _: None,
) -> Found:
    """The user asks ``turns`` questions; each is answered, or given up, before the next. Failed: also not heard."""
    model = talk.pipeline.llm
    total, counted = Found(), Counter(asdict(model.snapshot()))
    for number in range(turns):
        found = await _turn(talk, questions[number % len(questions)])
        counts = Counter(asdict(model.snapshot()))
        found.counts, counted = counts - counted, counts
        total.add(found)
        each(found)
    return total


async def _turn(talk: Conversation, question: str) -> Found:
    found = Found(turns=1)
    try:
        turn = await talk.say(question)
    except ScriptError as error:
        print(f"bench: {error}", file=sys.stderr)
        found.failed = 1
        return found
    found.failed = int(turn.error is not None)
    found.cut_offs, found.gaps = int(turn.cut_off), turn.audio_gaps
    found.degradation_steps.update(list(turn.degradation))
    if turn.counts_for_latency and turn.voice_to_voice_ms is not None:
        found.answers.append(turn.voice_to_voice_ms / 1000)
        heard_ms = turn.voice_to_voice_ms if turn.acknowledged_ms is None else turn.acknowledged_ms
        found.firsts.append(heard_ms / 1000)
    return found
