"""One call in a real room: voice to voice, cut-offs and barge-in; ours beside the stock LiveKit worker.

A black-box caller speaks the recordings in FOLDER and reads every figure off the sound in the room: packets, Opus and
jitter buffers, both ways, are in them. Same Whisper, voice and simulated language model for both. Three parts:

    whole    each utterance, once: from its true end to the agent's first sound; a reply before the end is a cut-off
    holds    each of FOLDER/holds.json: a lead-in, a pause, the rest; a reply before the end of the rest is a cut-off
    barge    each utterance is spoken 1.2 s into a long reply: from its onset to the agent's last sound before a hush
             of 0.4 s; "spoke on" counts those into which the agent spoke again, or never fell silent
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rooms
from clips import Clip, holds, utterances
from tables import markdown, ms, percentile, spread, write_lines

from voice_agent.config import Config, models
from voice_agent.errors import UsageError
from voice_agent.llm.local.sim import SimServer
from voice_agent.llm.sim_spec import parse_spec
from voice_agent.room.access import LiveKitAccess
from voice_agent.testing.harness.room_caller import Caller, token
from voice_agent.testing.harness.speech_bounds import speech_onset_s
from voice_agent.web import livekit_server

PARTS = ("whole", "holds", "barge")
JOIN_S, SETTLE_S, QUIET_S, PATIENCE_S = 30.0, 4.0, 1.5, 12.0
BETWEEN_S = 0.5  # of silence after the quiet, as between two people
INTO_S = 1.2
STOP_S = 6.0
HUSH_S = 0.4  # longer than the pause between two words
AT_ONSET_S = 0.08  # heard within this time before the onset, the agent was speaking
LAG_S = 0.03  # figures of a caller that was later than that are worth nothing


@dataclass(slots=True)
class OneCallResult:
    """What a system did: rows by part, times in ms (None: it did not happen)."""

    system: str
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {part: [] for part in PARTS})
    lag_s: float = 0.0

    def cells(self) -> list[object]:
        whole, held, barge = (self.rows[part] for part in PARTS)
        times = [row["after_ms"] / 1000 for row in whole if row["after_ms"] is not None and not row["cut_off"]]
        stops = [row["stop_ms"] / 1000 for row in barge if row["stop_ms"] is not None]
        return [
            self.system,
            *(*spread(times), len(times)),
            f"{sum(row['cut_off'] for row in whole)} of {len(whole)}",
            sum(not row["answered"] for row in whole),
            f"{sum(row['cut_off'] for row in held)} of {len(held)}",
            sum(not row["answered"] for row in held),
            *(ms(percentile(stops, 50)), ms(max(stops, default=None)), len(stops)),
            f"{sum(row['spoke_on'] for row in barge)} of {len(barge)}",
        ]


HEAD = (
    "system", "P50", "P95", "max", "n", "cut off", "unanswered", "holds cut off", "holds unanswered",
    "barge-in P50", "max", "n", "spoke on",
)  # fmt: skip


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="clips (default: assets/speech)")
    verb.add_argument("--systems", default="ours,livekit", metavar="A,B", help="(default: %(default)s)")
    verb.add_argument("--parts", default=",".join(PARTS), metavar="A,B", help="(default: %(default)s)")
    verb.add_argument("--n", type=int, metavar="N", help="only the first N utterances, and N holds")
    verb.add_argument("--rounds", type=int, default=1, metavar="N", help="everything N times (default: %(default)s)")
    verb.add_argument("--whisper", default="tiny.en", metavar="MODEL", help="(default: %(default)s)")
    verb.add_argument("--voice", default=Config().tts.voice, metavar="VOICE", help="(default: %(default)s)")
    verb.add_argument("--llm", default="sim:ttft=170ms,tps=2314", metavar="SIM", help="(default: %(default)s)")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of ours")
    verb.add_argument("--record", action="store_true", help="keep each call's recording")
    verb.add_argument("--out", type=Path, default=Path("out/bench/room-turns"), metavar="DIR", help="(%(default)s)")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    results = asyncio.run(_all(args))
    print(f"One call, Whisper {args.whisper}, voice {args.voice}, language model {args.llm} (simulated); in ms:\n")
    print(markdown(HEAD, (o.cells() for o in results)))
    worst = max(o.lag_s for o in results)
    if worst > LAG_S:
        print(f"\nThe caller itself was up to {worst * 1000:.0f} ms late: the machine was too busy to measure with.")
    print(f"\nPercentiles without the cut-offs. Every turn: {args.out / 'turns.jsonl'}")
    return 0


async def _all(args: argparse.Namespace) -> list[OneCallResult]:
    folder = args.folder or models.assets() / "speech"
    whole, held = utterances(folder, args.n), holds(folder, n=args.n)
    parts = {"whole": whole, "holds": held, "barge": whole}
    chosen = [part for part in args.parts.split(",") if parts.get(part)]
    if not chosen:
        raise UsageError(f"--parts {args.parts}: there are {', '.join(part for part in PARTS if parts[part])}")
    results = []
    with tempfile.TemporaryDirectory() as private:
        server, access = await livekit_server.start(livekit_server.find(), Path(private))
        try:
            for system in args.systems.split(","):
                result = OneCallResult(system)
                results.append(result)
                for spec, asked in ((args.llm, ("whole", "holds")), (args.llm + ",reply=long", ("barge",))):
                    if not set(asked) & set(chosen):
                        continue
                    with SimServer(parse_spec(spec)) as sim:
                        async with rooms.worker(args, system, access, sim.base_url):
                            for part in (p for p in asked if p in chosen):
                                await _part(args, result, access, part, parts[part] * args.rounds)
        finally:
            await server.stop(5.0)
    return results


async def _part(
    args: argparse.Namespace, result: OneCallResult, access: LiveKitAccess, part: str, said: Sequence[Clip]
) -> None:
    print(f"bench: {result.system}, {part}, {len(said)}", file=sys.stderr, flush=True)
    room = f"{result.system}-{part}"
    onsets_s = {clip.name: speech_onset_s(clip.pcm) for clip in said}  # before the call: it takes a while
    async with _caller(access, room) as caller:
        rows = _interruptions(caller, said, onsets_s) if part == "barge" else _questions(caller, said)
        async for row in rows:
            result.rows[part].append(row)
            about = {"system": result.system, "part": part, "whisper": args.whisper}
            write_lines(args.out / "turns.jsonl", [about | row | {"lag_ms": round(caller.worst_lag_s * 1000)}])
        result.lag_s = max(result.lag_s, caller.worst_lag_s)
        if args.record:
            caller.save(args.out / f"{room}.wav")


@contextlib.asynccontextmanager
async def _caller(access: LiveKitAccess, room: str) -> AsyncIterator[Caller]:
    """In a room of its own, the agent there and settled."""
    ticket = token(access.api_key, access.api_secret.reveal(), room, agent_name=rooms.AGENT)
    async with Caller.joined(access.url, ticket) as caller:
        if not await caller.agent_there(JOIN_S):
            raise SystemExit(f"bench: no agent came to {room} within {JOIN_S:.0f} s; see the worker's log")
        await asyncio.sleep(SETTLE_S)
        yield caller


async def _questions(caller: Caller, said: Sequence[Clip]) -> AsyncIterator[dict[str, Any]]:
    for clip in said:
        await caller.quiet(QUIET_S)
        await asyncio.sleep(BETWEEN_S)
        caller.listen_from_now()
        end_s = caller.say(clip.pcm) + clip.end_s
        first_s = await caller.reply(end_s + PATIENCE_S)
        cut_off = first_s is not None and first_s < end_s
        answer_s = first_s
        if cut_off:  # it is answered if something comes after the end
            await caller.spoken()
            caller.listen_from_now()
            answer_s = await caller.reply(end_s + PATIENCE_S)
        yield {
            "clip": clip.name,
            "after_ms": None if first_s is None else round((first_s - end_s) * 1000),
            "cut_off": cut_off,
            "answered": answer_s is not None,
        }


async def _interruptions(
    caller: Caller, said: Sequence[Clip], onsets_s: Mapping[str, float]
) -> AsyncIterator[dict[str, Any]]:
    """One after the other: every interruption is answered at length, and the next is spoken into that answer."""
    question = said[-1]
    speaks = False
    for clip in said:
        if not speaks:
            await caller.quiet(QUIET_S)
            await asyncio.sleep(BETWEEN_S)
            speaks = await _answer(caller, caller.say(question.pcm) + question.end_s)
        if not speaks:
            yield {"clip": clip.name, "stop_ms": None, "spoke_on": False, "why": "no reply to speak into"}
            continue
        start_s = caller.say(clip.pcm)
        onset_s, end_s = start_s + onsets_s[clip.name], start_s + clip.end_s
        while caller.now_s() < onset_s:  # noqa: ASYNC110  # the timeline goes on in steps of a frame
            await asyncio.sleep(0.005)
        spoke = caller.heard_between(onset_s - AT_ONSET_S, onset_s)
        stop_s = await caller.stopped(onset_s, hush_s=HUSH_S, within_s=STOP_S) if spoke else None
        while caller.now_s() < end_s:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.005)
        spoke_on = spoke and (stop_s is None or caller.heard_between(onset_s + stop_s, end_s))
        why = None if stop_s is not None else "never fell silent" if spoke else "between two words"
        yield {
            "clip": clip.name,
            "stop_ms": None if stop_s is None else round(stop_s * 1000),
            "spoke_on": spoke_on,
            "why": why,
        }
        speaks = await _answer(caller, end_s)


async def _answer(caller: Caller, end_s: float) -> bool:
    """Wait until the agent has spoken for :data:`INTO_S`, in its answer to what ends at ``end_s``."""
    await caller.spoken()
    while caller.now_s() < end_s:  # noqa: ASYNC110  # as above
        await asyncio.sleep(0.005)
    caller.listen_from_now()
    first_s = await caller.reply(end_s + PATIENCE_S)
    if first_s is None:
        return False
    await asyncio.sleep(max(0.0, first_s + INTO_S - caller.now_s()))
    return True
