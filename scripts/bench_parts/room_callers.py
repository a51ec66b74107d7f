"""The callers of ``scripts/bench rooms``: each joins a room of its own, asks every few seconds, and listens.

A process apart from the worker, so that measuring does not wait for what is measured. Prints a JSON object for each
turn, for each ledger row, and for each call at its end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import clips as material

from voice_agent.clock import SYSTEM
from voice_agent.livekit_compat.ffi import route_events, route_room, start_library
from voice_agent.testing.harness.room_caller import Caller, Concealed, token

SETTLE_S = 1.0
PATIENCE_S = 12.0
JOIN_S = 15.0
HEAR_MS = 100  # long frames: the callers must leave the processor to the worker
LEAD_S = 0.2  # a stall of this process is not heard


async def one_call(options: argparse.Namespace, number: int, said: list[material.Clip]) -> None:
    """Call ``number``: join a room, ask ``options.turns`` questions, print a row for each and one at the end."""
    room = f"{options.prefix}-{number}"
    ticket = token(
        options.key, options.secret, room, agent_name=options.agent_name, attributes={"voice_agent.ledger": "1"}
    )
    await asyncio.sleep(options.stagger * number)
    async with Caller.joined(options.url, ticket, hear_ms=HEAR_MS, lead_s=LEAD_S) as caller:
        route_room(caller.room)
        ledger = LedgerRows(number)
        caller.room.register_text_stream_handler("voice_agent.turn", ledger.received)
        there = await caller.agent_there(JOIN_S)
        joined_s = caller.agent_joined_s
        answers: list[bool] = []
        gone, concealed = False, Concealed()
        if there:
            await asyncio.sleep(options.settle)
            began = caller.now_s()
            for turn in range(options.turns):
                await caller.quiet(SETTLE_S)
                await asyncio.sleep(max(0.0, began + turn * options.every - caller.now_s()))
                answers.append(await _ask(caller, number, turn, said[(number * 7 + turn) % len(said)]))
            await caller.quiet(SETTLE_S)
            concealed = await caller.concealed()
            gone = not await caller.agent_there(0.01)
        _print(
            call=number,
            joined_s=None if joined_s is None else round(joined_s, 2),
            refused=not there,
            dropped=there and gone,
            asked=len(answers),
            answered=sum(answers),
            gaps=len(caller.gaps()),
            concealed_ms=round(concealed.seconds * 1000),
            concealments=concealed.events,
            track_gaps_ms=[round(ms, 1) for ms in ledger.gaps_ms],
            lag_ms=round(caller.worst_lag_s * 1000),
        )
        if options.record is not None:
            options.record.mkdir(parents=True, exist_ok=True)
            caller.save(options.record / f"{room}.wav")


async def _ask(caller: Caller, number: int, turn: int, clip: material.Clip) -> bool:
    """Speak ``clip`` and wait for the answer; prints the turn's row. Returns whether it was answered."""
    caller.listen_from_now()
    end = caller.say(clip.pcm) + clip.end_s
    answered_at = await caller.reply(end + PATIENCE_S)
    after_ms = None if answered_at is None else round((answered_at - end) * 1000)
    # An answer before the end is a cut-off; the one to the whole comes later, and is not timed.
    _print(
        turn=turn,
        call=number,
        clip=clip.name,
        after_ms=after_ms,
        cut_off=after_ms is not None and after_ms < 0,
        lag_ms=round(caller.worst_lag_s * 1000),
    )
    return answered_at is not None


class LedgerRows:
    """Prints the rows that the agent sends; ``gaps_ms``: the mean length of the gaps in each reply that had some."""

    def __init__(self, number: int) -> None:
        self.gaps_ms: list[float] = []
        self._number = number
        self._reading: set[asyncio.Task[None]] = set()

    def received(self, reader: Any, who: str) -> None:
        """LiveKit's handler of a text stream."""
        task = asyncio.create_task(self._read(reader))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read(self, reader: Any) -> None:
        turn = json.loads(await reader.read_all())
        _print(call=self._number, ledger=turn)
        if turn["audio_gaps"]["count"]:
            self.gaps_ms.append(turn["audio_gaps"]["ms"] / turn["audio_gaps"]["count"])


def _print(**row: object) -> None:
    print(json.dumps(row), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("url", "key", "secret", "agent-name", "prefix"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--numbers", required=True, help="which calls these are: 0,2,4")
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--every", type=float, required=True, help="seconds from one question to the next")
    parser.add_argument("--stagger", type=float, required=True, help="seconds between two calls' beginnings")
    parser.add_argument("--settle", type=float, default=2.0)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    start_library()
    route_events()
    said = material.utterances(options.clips)
    began = SYSTEM.now(), time.process_time()
    await asyncio.gather(*(one_call(options, int(n), said) for n in options.numbers.split(",")))
    print(json.dumps({"callers_cores": (time.process_time() - began[1]) / (SYSTEM.now() - began[0])}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
    # LiveKit's native threads may still want to tell Python something; one that does while it ends aborts the process
    # ("panic in a function that cannot unwind").
    sys.stdout.flush()
    os._exit(0)
