"""Calls at the same time in real rooms: ours beside the stock LiveKit worker with the same models.

Each caller asks one of the recordings in FOLDER every 8 s. Measured by sound alone, in the room: packets, Opus and
jitter buffers are in it. The language model is simulated (170 ms, 2,314 tokens/s). Memory is that of all processes of
a worker together (PSS: what they share counts once); "MB a call" is what each call beyond the first cost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environments
import psutil
from tables import markdown, spread, write_lines

from voice_agent.config import Config, models
from voice_agent.llm.local.sim import SimServer
from voice_agent.llm.sim_spec import parse_spec
from voice_agent.room.access import LiveKitAccess
from voice_agent.web import livekit_server

HERE = Path(__file__).parent
AGENT = "bench"
CALLERS_A_PROCESS = 8
READY_S = 90.0
WATCH_S = 5.0  # reading a process' memory map takes milliseconds, in which that process gets no memory
REGISTERED = re.compile(rb"registered worker|registered as")  # LiveKit's words, ours; it registers plug-ins as well


@dataclass(slots=True)
class CallsResult:
    """What a system did with ``calls`` calls at once."""

    system: str
    calls: int
    turns: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    memory_mb: float = 0.0
    cpu_s: float = 0.0
    callers_cores: float = 0.0
    wall_s: float = 0.0

    def cells(self, first_mb: float | None) -> list[object]:
        times = [t["after_ms"] / 1000 for t in self.turns if t["after_ms"] is not None and not t["cut_off"]]
        asked, answered = (sum(e[key] for e in self.ends) for key in ("asked", "answered"))
        joined = [e["joined_s"] for e in self.ends if e["joined_s"] is not None]
        each = None if first_mb is None or self.calls < 2 else (self.memory_mb - first_mb) / (self.calls - 1)
        track = [ms for e in self.ends for ms in e["track_gaps_ms"] if ms > 60]
        return [
            self.system,
            self.calls,
            sum(e["refused"] for e in self.ends),
            self.calls - len(self.ends) + sum(e["dropped"] for e in self.ends),
            f"{answered} of {asked}",
            *spread(times),
            sum(t["cut_off"] for t in self.turns),
            f"{max(joined):.2f}" if joined else None,
            sum(e["gaps"] for e in self.ends) + len(track),
            sum(e["concealed_ms"] for e in self.ends),
            f"{self.memory_mb:.0f}",
            None if each is None else f"{each:.0f}",
            f"{self.cpu_s / self.wall_s:.2f}" if self.wall_s else None,
            f"{self.callers_cores:.2f}",
            max((e["lag_ms"] for e in self.ends), default=None),
        ]


HEAD = (
    "system", "calls", "refused", "dropped", "answered", "P50", "P95", "max", "cut off", "joined s", "gaps > 60 ms",
    "concealed ms", "MB", "MB a call", "cores", "callers' cores", "callers' lag ms",
)  # fmt: skip


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="clips (default: assets/speech)")
    verb.add_argument("--calls", default="1,2,4,8,16", metavar="N,...", help="calls at once (default: %(default)s)")
    verb.add_argument("--systems", default="ours,livekit", metavar="A,B", help="(default: %(default)s)")
    verb.add_argument("--turns", type=int, default=8, metavar="N", help="a call (default: %(default)s)")
    verb.add_argument("--every", type=float, default=8.0, metavar="S", help="from one to the next (%(default)s s)")
    verb.add_argument("--whisper", default="tiny.en", metavar="MODEL", help="(default: %(default)s)")
    verb.add_argument("--voice", default=Config().tts.voice, metavar="VOICE", help="(default: %(default)s)")
    verb.add_argument("--llm", default="sim:ttft=170ms,tps=2314", metavar="SIM", help="(default: %(default)s)")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of ours")
    verb.add_argument("--record", action="store_true", help="keep each call's recording")
    verb.add_argument("--out", type=Path, default=Path("out/bench/rooms"), metavar="DIR", help="default: %(default)s")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    results = asyncio.run(_all(args))
    first = {o.system: o.memory_mb for o in results if o.calls == 1}
    print(f"Whisper {args.whisper}, language model {args.llm} (simulated), {args.turns} turns a call, in ms:\n")
    print(markdown(HEAD, (o.cells(first.get(o.system)) for o in results)))
    print(f"\nEvery turn, by sound and as its ledger: {args.out / 'turns.jsonl'}. Refused: the worker was full.")
    return 0


async def _all(args: argparse.Namespace) -> list[CallsResult]:
    results = []
    with tempfile.TemporaryDirectory() as folder, SimServer(parse_spec(args.llm)) as sim:
        server, access = await livekit_server.start(livekit_server.find(), Path(folder))
        try:
            for system in args.systems.split(","):
                for calls in (int(n) for n in args.calls.split(",")):
                    print(f"bench: {system}, {calls} calls", file=sys.stderr, flush=True)
                    result = await _measure(args, system, calls, access, sim.base_url)
                    results.append(result)
                    about = {"system": system, "calls": calls, "whisper": args.whisper}
                    rows = result.turns + result.ends + result.ledger
                    write_lines(args.out / "turns.jsonl", [about | t for t in rows])
        finally:
            await server.stop(5.0)
    return results


async def _measure(
    args: argparse.Namespace, system: str, calls: int, access: LiveKitAccess, base_url: str
) -> CallsResult:
    result = CallsResult(system, calls)
    folder = args.folder or models.assets() / "speech"
    numbers = [range(n, calls, -(-calls // CALLERS_A_PROCESS)) for n in range(-(-calls // CALLERS_A_PROCESS))]
    async with worker(args, system, access, base_url) as process:
        cpu_before, began = _cpu_s(process), asyncio.get_running_loop().time()
        callers = [
            asyncio.create_task(
                _callers(
                    [
                        *("--url", access.url, "--key", access.api_key, "--secret", access.api_secret.reveal()),
                        *("--agent-name", AGENT, "--prefix", f"{system}-{calls}", "--clips", str(folder)),
                        *("--numbers", ",".join(map(str, some)), "--turns", str(args.turns)),
                        *("--every", str(args.every), "--stagger", str(args.every / calls)),
                        *(("--record", str(args.out)) if args.record else ()),
                    ],
                    result,
                )
            )
            for some in numbers
        ]
        watching = asyncio.create_task(_watch(process, result))
        await asyncio.gather(*callers)
        watching.cancel()
        result.cpu_s, result.wall_s = _cpu_s(process) - cpu_before, asyncio.get_running_loop().time() - began
    return result


async def _callers(arguments: Sequence[str], result: CallsResult) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "room_callers.py"), *arguments, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    async for line in child.stdout:
        row = json.loads(line)
        if "callers_cores" in row:
            result.callers_cores += row["callers_cores"]
            continue
        if "ledger" in row:
            result.ledger.append(row)
        else:
            (result.ends if "joined_s" in row else result.turns).append(row)
    if await child.wait() != 0:
        raise SystemExit("bench: the callers failed; their message stands above")


@contextlib.asynccontextmanager
async def worker(
    args: argparse.Namespace, system: str, access: LiveKitAccess, base_url: str
) -> AsyncIterator[psutil.Process]:
    """A worker that the server knows; ended with the block, children included."""
    env = os.environ | access.environment()
    if system == "ours":
        settings = [f for pair in args.set for f in ("--set", pair)]
        command = [
            *(sys.executable, "-m", "voice_agent.cli", "room", "start", "--agent-name", AGENT, "--port", "0"),
            *("--base-url", base_url, "--api-key", "none", "--whisper", args.whisper, "--voice", args.voice, *settings),
        ]
    else:
        about = {
            "whisper": str(models.whisper(args.whisper)),
            "voice": str(models.piper(args.voice)[0]),
            "base_url": base_url,
            "agent_name": AGENT,
        }
        env |= {"VOICE_AGENT_BENCH": json.dumps(about), "PYTHONPATH": str(environments.ROOT)}
        command = [str(environments.livekit()), str(HERE / "stock_room.py"), "start"]
    log = (args.out / f"{system}.log").open("ab")
    child = await asyncio.create_subprocess_exec(*command, env=env, stdout=log, stderr=log)
    process = psutil.Process(child.pid)
    try:
        await _registered(child, args.out / f"{system}.log", log.tell())
        await asyncio.sleep(3.0)  # its spare processes are ready
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        await child.wait()
        log.close()


async def _registered(child: asyncio.subprocess.Process, log: Path, start: int) -> None:
    async with asyncio.timeout(READY_S):
        while not REGISTERED.search(log.read_bytes()[start:]):  # noqa: ASYNC240  # some hundred bytes, twice
            if child.returncode is not None:
                raise SystemExit(f"bench: the worker ended at once; see {log}")
            await asyncio.sleep(0.1)


async def _watch(worker: psutil.Process, result: CallsResult) -> None:
    """Keep the greatest memory that the worker and its children used together."""
    while True:
        await asyncio.sleep(WATCH_S)
        result.memory_mb = max(result.memory_mb, _memory_mb(worker))


def _memory_mb(worker: psutil.Process) -> float:
    total = 0.0
    for process in _family(worker):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            full = process.memory_full_info()
            total += getattr(full, "pss", full.rss)
    return total / 2**20


def _cpu_s(worker: psutil.Process) -> float:
    total = 0.0
    for process in _family(worker):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _family(worker: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [worker, *worker.children(recursive=True)]
    return []
