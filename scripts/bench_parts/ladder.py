"""What is done when a turn is late: each rung alone and all together, against a double with a heavy tail.

Real: the session, the turn policy, the clients, the hedge, the chunks, the ledger. Doubled: user, ears, voice and the
providers, whose times are drawn. Virtual time: the same figures on any machine. ``--real N``: N turns in real time
instead, with the real Whisper and Piper and the double in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tables import markdown, ms, percentile

from voice_agent.clock import Clock
from voice_agent.config import Config, FlagValue, load
from voice_agent.testing import Reply, ScriptError, conversation, run
from voice_agent.testing.conversation import Conversation, real_conversation

OFF: Mapping[str, FlagValue] = {
    "ladder.hedge": False, "ladder.small_first": False, "ladder.acknowledge": False, "ladder.degrade": False,
    "ladder.breaker": False,
}  # fmt: skip
TAIL = "sim:ttft=lognormal(170ms,0.4),stall=5%x3s,tps=2314"
SLOW = "sim:ttft=lognormal(420ms,0.2),tps=59"
OUT = "sim:ttft=170ms,error=503"
GOOD = "sim:ttft=lognormal(170ms,0.4),tps=2314"
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


def _on(*names: str, **more: FlagValue) -> dict[str, FlagValue]:
    return {**OFF, **{f"ladder.{name}": True for name in names}, **{k.replace("__", "."): v for k, v in more.items()}}


SCENARIOS: Mapping[str, tuple[str, tuple[Case, ...]]] = {
    "tail": (
        "5 % of the requests stall for 3 s; time to first token log-normal around 170 ms (sigma 0.4); 2,314 tok/s",
        (
            Case("nothing", TAIL, _on()),
            Case("1 hedge", TAIL, _on("hedge")),
            Case("2 smaller first chunk", TAIL, _on("small_first")),
            Case("3 acknowledge", TAIL, _on("acknowledge")),
            Case("4 degrade", TAIL, _on("degrade")),
            Case("5 give up after 2 s", TAIL, _on("breaker", ladder__give_up_ms=2000)),
            Case("all (default)", TAIL, {}),
        ),
    ),
    "slow": (
        "a slow model: log-normal around 420 ms (sigma 0.2), 59 tok/s; second provider: 170 ms, 2,314 tok/s",
        (
            Case("nothing", SLOW, _on(), 10),
            Case("2 smaller first chunk", SLOW, _on("small_first"), 10),
            Case("4 degrade to the second provider", SLOW, _on("degrade", llm__hedge=GOOD), 10),
            Case("all (default)", SLOW, {"llm.hedge": GOOD}, 10),
        ),
    ),
    "outage": (
        "the first provider answers 503 after 170 ms; second provider: log-normal around 170 ms, 2,314 tok/s",
        (
            Case("nothing", OUT, _on(), 10),
            Case("5 breaker", OUT, _on("breaker"), 10),
            Case("second provider, no breaker", OUT, _on("hedge", llm__hedge=GOOD), 10),
            Case("all (default)", OUT, {"llm.hedge": GOOD}, 10),
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
    rungs: Counter[str] = field(default_factory=lambda: Counter[str]())
    counts: Counter[str] = field(default_factory=lambda: Counter[str]())

    def add(self, other: Found) -> None:
        self.answers += other.answers
        self.firsts += other.firsts
        self.turns += other.turns
        self.failed += other.failed
        self.gaps += other.gaps
        self.cut_offs += other.cut_offs
        self.rungs += other.rungs
        self.counts += other.counts

    @property
    def extra_share(self) -> float:
        needed = self.counts["tokens"] - self.counts["extra_tokens"]
        return self.counts["extra_tokens"] / needed if needed else 0.0

    def cells(self, name: str) -> list[object]:
        p50, p95, p99 = (percentile(self.answers, q) for q in (50, 95, 99))
        return [
            name, self.turns, ms(p50), ms(p95), ms(p99), ms(percentile(self.firsts, 99)), self.failed,
            f"{100 * self.counts['hedged'] / max(1, self.counts['answers']):.1f} %", f"{100 * self.extra_share:.1f} %",
            self.rungs["acknowledge"], self.rungs["small_first"], self.gaps,
        ]  # fmt: skip


HEAD = [
    "rungs", "turns", "P50", "P95", "P99", "P99 first sound", "failed", "requests hedged", "extra tokens",
    "acknowledged", "small first", "gaps",
]  # fmt: skip


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--n", type=int, default=2000, metavar="N", help="turns a row (default: %(default)s)")
    verb.add_argument("--scenario", default=",".join(SCENARIOS), metavar="A,B", help="(default: %(default)s)")
    verb.add_argument("--rows", metavar="TEXT", help="only rows whose name contains this")
    verb.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    verb.add_argument("--real", type=int, metavar="N", help="N turns a row in real time (rows: nothing, all)")
    verb.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    verb.set_defaults(run=run_bench)


def run_bench(args: argparse.Namespace) -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {}
    for name in args.scenario.split(","):
        about, cases = SCENARIOS[name]
        if args.rows:
            cases = tuple(case for case in cases if args.rows in case.name)
        if args.real is not None:
            cases = tuple(case for case in cases if case.name in ("nothing", "all (default)"))
        rows = []
        for case in cases:
            found = real(case, args.real) if args.real is not None else virtual(case, args.n // case.share, args.jobs)
            rows.append(found.cells(case.name))
            kept[f"{name}/{case.name}"] = {**_plain(found), "rungs": dict(found.rungs), "counts": dict(found.counts)}
            print(f"bench: {name}, {case.name}: {found.turns} turns", file=sys.stderr, flush=True)
        print(f"{about}; ms from the end of speech to the first sound\n\n{markdown(HEAD, rows)}\n")
    file = args.out / ("ladder-real.json" if args.real is not None else "ladder.json")
    file.write_text(json.dumps(kept))
    what = "the provider" if args.real is not None else "user, ears, voice, provider, time"
    print(f"Simulated: {what}. Turns: {file}")
    return 0


def virtual(case: Case, turns: int, jobs: int) -> Found:
    """``turns`` in calls of CALL_TURNS, each in a run of its own."""
    sizes = [min(CALL_TURNS, turns - start) for start in range(0, turns, CALL_TURNS)]
    total = Found()
    with ProcessPoolExecutor(jobs) as pool:
        for found in pool.map(call, [case] * len(sizes), range(1, len(sizes) + 1), sizes):
            total.add(found)
    return total


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


def real(case: Case, turns: int) -> Found:
    """One call in real time, with the real models; the provider is simulated."""

    async def main() -> Found:
        async with real_conversation(settings(case, 1)) as talk:
            # Whisper's "Where can I buy a ticket" is judged unfinished: its wait is the turn's, not the model's.
            return await spoken(talk, turns, [q for q in QUESTIONS if not q.startswith("Where can")])

    return asyncio.run(main())


def settings(case: Case, seed: int) -> Config:
    def seeded(value: FlagValue, by: int) -> FlagValue:
        return f"{value},seed={by}" if isinstance(value, str) and value.startswith("sim:") else value

    # Short answers, so that two thousand of them take minutes; only the first words are timed. Of a slow model longer
    # ones: whether a gap follows the first words is seen in the next.
    tokens = 26 if "tps=59" in case.llm else 8
    flags: dict[str, FlagValue] = {"llm.max_completion_tokens": tokens, **case.on}
    flags = {key: seeded(value, 1000 + seed) for key, value in flags.items()}
    return load(env={}, flags={**flags, "llm.spec": seeded(case.llm, seed)})


async def spoken(talk: Conversation, turns: int, questions: Sequence[str] = QUESTIONS) -> Found:
    """The user asks ``turns`` questions; each is answered, or given up, before the next. Failed: also not heard."""
    found = Found()
    for number in range(turns):
        found.turns += 1
        try:
            turn = await talk.say(questions[number % len(questions)])
        except ScriptError as error:
            print(f"bench: {error}", file=sys.stderr)
            found.failed += 1
            continue
        found.failed += turn.error is not None
        found.cut_offs += turn.cut_off
        found.gaps += turn.audio_gaps
        found.rungs.update(list(turn.ladder))
        if turn.counts_for_latency and turn.voice_to_voice_ms is not None:
            found.answers.append(turn.voice_to_voice_ms / 1000)
            heard_ms = turn.voice_to_voice_ms if turn.acknowledged_ms is None else turn.acknowledged_ms
            found.firsts.append(heard_ms / 1000)
    mind = talk.stage.road.mind
    assert mind is not None
    found.counts.update(asdict(mind.snapshot()))
    return found


def _plain(found: Found) -> dict[str, Any]:
    return {"answers": found.answers, "firsts": found.firsts, "turns": found.turns, "failed": found.failed,
            "gaps": found.gaps, "cut_offs": found.cut_offs}  # fmt: skip
