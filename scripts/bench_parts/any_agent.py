"""The same scripts through the same room against two agents: the stock LiveKit worker and ours, side by side.

``voice-agent test --target ws://...`` knows neither: a caller joins, speaks, and measures by sound alone. The
stock worker is ``stock_room.py``, with the same Whisper, voice and simulated language model. Leaves, in OUT: a run
directory a script and agent, report.html and report.md; and stock.jsonl, the rows of the ledger that one line attached
to the stock worker's session. docs/any_agent.md says how to run it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import rooms

from voice_agent.config import Config, models
from voice_agent.llm.local.sim import SimServer
from voice_agent.llm.sim_spec import parse_spec
from voice_agent.room.access import LiveKitAccess
from voice_agent.testing.report.collect import collect
from voice_agent.testing.report.html import write_page
from voice_agent.testing.report.markdown import markdown
from voice_agent.testing.report.read_runs import load
from voice_agent.testing.scenario.junit import write_text
from voice_agent.web import livekit_server

NAMES = {"livekit": "stock", "ours": "ours"}
MEASURED = (0, 1)  # exit codes of ``voice-agent test`` after which there are runs: all passed, or not


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("scripts", type=Path, nargs="?", metavar="PATH", help="(default: assets/scenarios)")
    verb.add_argument(
        "-k",
        dest="only",
        default="endurance or holds or barge-in or back-channel or phone",
        metavar="EXPR",
        help="which (default: %(default)s)",
    )
    verb.add_argument("--whisper", default="tiny.en", metavar="MODEL", help="(default: %(default)s)")
    verb.add_argument("--voice", default=Config().tts.voice, metavar="VOICE", help="(default: %(default)s)")
    verb.add_argument("--llm", default="sim:ttft=170ms,tps=2314", metavar="SIM", help="(default: %(default)s)")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of ours")
    verb.add_argument("--report-only", action="store_true", help="play nothing: report what lies in --out")
    verb.add_argument("--out", type=Path, default=Path("out/bench/any"), metavar="DIR", help="default: %(default)s")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.report_only:
        asyncio.run(_all(args))
    report = collect(load([args.out / system for system in NAMES]), names=(NAMES["livekit"], NAMES["ours"]))
    write_page(report, args.out / "report.html")
    text = markdown(report)
    write_text(args.out / "report.md", text)
    print(text.partition("<details>")[0])
    print(args.out / "report.html")
    return 0


async def _all(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, SimServer(parse_spec(args.llm)) as llm_server:
        server, access = await livekit_server.start(livekit_server.find(), Path(folder))
        try:
            # A worker of ours writes its own; this one is for the worker that is not ours.
            ledger = args.out / "stock.jsonl"
            ledger.unlink(missing_ok=True)
            os.environ["BENCH_LEDGER"] = str(ledger.resolve())
            for system in NAMES:
                print(f"bench: {system}", file=sys.stderr, flush=True)
                async with rooms.worker(args, system, access, llm_server.base_url):
                    await _play(args, access, args.out / system)
        finally:
            await server.stop(5.0)


async def _play(args: argparse.Namespace, access: LiveKitAccess, runs: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voice_agent.cli", "test", str(args.scripts or models.assets() / "scenarios")),
        *("-k", args.only, "--target", access.url, "--agent-name", rooms.AGENT, "--voice", args.voice),
        *("--runs", str(runs)),
        env=os.environ | {"LIVEKIT_API_KEY": access.api_key, "LIVEKIT_API_SECRET": access.api_secret.reveal()},
    )
    if await child.wait() not in MEASURED:
        raise SystemExit("bench: voice-agent test failed; its message stands above")
