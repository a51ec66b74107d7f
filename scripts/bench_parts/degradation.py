"""Measures the degradation steps, each alone and all together, against a double of a provider with a heavy tail.

Real: the session, the turn policy, the LLM clients, the hedge, the chunker, the ledger. Doubles: user, STT, TTS and the
providers, whose times are drawn. Virtual time: the same figures on any machine. ``--real N``: N turns in real time
instead, with the real Whisper and Piper and the provider's double in its own process (rows "nothing" and "all", or
those that ``--rows`` names).

Results are kept at once, one line each in DIR/degradation.jsonl: after a stop, ``--resume`` measures the rest.
``--table`` prints the kept results. Rows of virtual and real time are printed in one table.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from degradation_cases import ALL, CALL_TURNS, LONG_STARTS, QUESTIONS, SCENARIOS, SLOW, Case
from degradation_results import REAL, ResultsFile, RowResult

from voice_agent.clock import Clock
from voice_agent.config import Config, FlagValue, load
from voice_agent.errors import UsageError
from voice_agent.testing.doubles import Reply, ScriptError, conversation, run
from voice_agent.testing.doubles.conversation import Conversation, real_conversation

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
    kept = ResultsFile(args.out / KEPT)
    todo = [] if args.table else list(wanted_rows(args))
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


def wanted_rows(args: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    """The name and the case of each selected row. Raises UsageError for an unknown row."""
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


def virtual(case: Case, turns: int, jobs: int, kept: ResultsFile, row: str) -> None:
    """``turns`` in calls of CALL_TURNS, each with its own seed; calls that are in ``kept`` are not run again."""
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


def call(case: Case, seed: int, turns: int) -> RowResult:
    """One call in virtual time."""
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)  # some rows measure failures

    async def main(clock: Clock) -> RowResult:
        replies = _long_starts if case.llm == SLOW else None
        async with conversation(clock, settings(case, seed), replies=replies) as talk:
            return await spoken(talk, turns)

    return run(main)


def _long_starts(user_text: str) -> Reply:
    return Reply(LONG_STARTS[zlib.crc32(user_text.encode()) % len(LONG_STARTS)])


def real(case: Case, turns: int, kept: ResultsFile, row: str) -> None:
    """One call in real time, with the real models and a simulated provider. Resumed: a further call for the rest."""
    done = kept.found[row].turns if row in kept.found else 0
    if done >= turns:
        return
    seed = 1 + max(kept.calls(row), default=0)

    async def main() -> None:
        async with real_conversation(settings(case, seed)) as talk:
            # The end-of-turn model takes Whisper's "Where can I buy a ticket" for unfinished: its wait is not the
            # LLM's.
            questions = [q for q in QUESTIONS if not q.startswith("Where can")]
            await spoken(talk, turns - done, questions, lambda one: kept.add(row, seed, one))

    asyncio.run(main())


def settings(case: Case, seed: int) -> Config:
    def seeded(value: FlagValue, by: int) -> FlagValue:
        return f"{value},seed={by}" if isinstance(value, str) and value.startswith("sim:") else value

    # Short answers, so that two thousand turns take minutes; only the first words are timed. Longer ones of a slow
    # model: a gap after the first words shows in the next ones.
    tokens = 26 if "tps=59" in case.llm else 8
    flags: dict[str, FlagValue] = {"llm.max_completion_tokens": tokens, **case.on}
    flags = {key: seeded(value, 1000 + seed) for key, value in flags.items()}
    return load(env={}, flags={**flags, "llm.spec": seeded(case.llm, seed)})


async def spoken(
    talk: Conversation,
    turns: int,
    questions: Sequence[str] = QUESTIONS,
    each: Callable[[RowResult], None] = lambda _: None,
) -> RowResult:
    """The user asks ``turns`` questions, each after the answer to the last. A question that STT misses counts as
    failed."""
    model = talk.pipeline.llm
    total, counted = RowResult(), Counter(asdict(model.snapshot()))
    for number in range(turns):
        found = await _turn(talk, questions[number % len(questions)])
        counts = Counter(asdict(model.snapshot()))
        found.counts, counted = counts - counted, counts
        total.add(found)
        each(found)
    return total


async def _turn(talk: Conversation, question: str) -> RowResult:
    found = RowResult(turns=1)
    try:
        turn = await talk.say(question)
    except ScriptError as error:
        print(f"bench: {error}", file=sys.stderr)
        found.failed = 1
        return found
    found.failed = int(turn.error is not None)
    found.cut_offs, found.gaps = int(turn.cut_off), turn.audio_gaps
    found.steps.update(list(turn.degradation))
    if turn.counts_for_latency and turn.voice_to_voice_ms is not None:
        found.answers.append(turn.voice_to_voice_ms / 1000)
        heard_ms = turn.voice_to_voice_ms if turn.acknowledged_ms is None else turn.acknowledged_ms
        found.firsts.append(heard_ms / 1000)
    return found
