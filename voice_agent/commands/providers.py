"""``voice-agent providers``: which providers are configured and reachable, and their model; ``bench``: how fast they
are."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .common import Verbs, add_settings, read_config

if TYPE_CHECKING:
    from ..config import Config
    from ..llm.bench.measure import RequestTiming
    from ..llm.bench.provider_report import ProviderReport
    from ..meter import Reading


BENCH_EXAMPLE = """example:
  voice-agent script --jsonl turns.jsonl assets/speech/*.wav
  voice-agent providers bench --providers groq,published --turns turns.jsonl
"""


def add(verbs: Verbs) -> None:
    """Add the verb."""
    providers = verbs.add_parser("providers", help="which providers are configured, reachable, and how fast")
    providers.add_argument("--json", action="store_true", help="for programs")
    providers.add_argument("--offline", action="store_true", help="send no request: only what is configured")
    add_settings(providers)
    providers.set_defaults(run=_list)
    below = providers.add_subparsers(metavar="bench")
    bench = below.add_parser(
        "bench",
        help="measure them, and say when to route where",
        description="Measure providers side by side: time to the first content, tokens a second, tail, errors; and say"
        " when to route where. It sends real requests: n for each provider, context and concurrency.",
        epilog=BENCH_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument(
        "--providers",
        metavar="A,B",
        help="names, embedded, sim:ttft=170ms,tps=2314, or published: speeds that others published, simulated"
        " (default: the configured ones)",
    )
    bench.add_argument("--n", type=int, default=30, metavar="N", help="requests of each kind (default 30)")
    bench.add_argument("--concurrency", default="1", metavar="1,4", help="requests at the same time (default 1)")
    bench.add_argument(
        "--context",
        default="200,1000,4000",
        metavar="T,T",
        help="tokens of conversation before the question (default 200,1000,4000)",
    )
    bench.add_argument(
        "--turns",
        type=Path,
        metavar="FILE.jsonl",
        help="turns recorded here (voice-agent script --jsonl FILE.jsonl): with them, voice to voice is predicted",
    )
    bench.add_argument("--seed", type=int, default=1, metavar="S", help="of the order and the intervals (default 1)")
    bench.add_argument("--out", type=Path, metavar="FILE", help="write .md, .json or .html (default: shown here)")
    add_settings(bench)
    bench.set_defaults(run=_bench)


def _list(args: argparse.Namespace) -> int:
    from .. import meter
    from ..config import provider_key
    from ..llm.bench.survey import survey

    config = read_config(args)
    with meter.opened(config.meter) as counting:
        if counting is not None:
            counting.flush()
        readings = counting.snapshot().providers if counting is not None else {}
        found = asyncio.run(survey(config.llm, provider_key, ask=not args.offline))
    if args.json:
        rows = [
            dataclasses.asdict(row) | {"meter": _reading(readings[row.provider]) if row.provider in readings else None}
            for row in found
        ]
        print(json.dumps(rows, indent=2))
        return 0
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    heads = ["", "provider", "configured", "answers", "model", "used today"]
    cells = list[list[str]]()
    for row in found:
        unasked = "not asked" if row.configured else ""
        answers = {True: f"{row.ms:.0f} ms" if row.ms else "yes", False: "no", None: unasked}[row.reachable]
        # The advice is shown for the chosen provider only: most machines run none of the local servers.
        error = row.error if row.chosen else row.error.partition(";")[0]
        model = f"{row.model}: {row.model_why}" if row.model else error
        used = readings.get(row.provider)
        near = used.highest if used else None
        share = f", {near.share:.0%} of {near.name}" if near else ""
        money = f", {used.cost_today:.2f}" if used and used.cost_today is not None else ""
        today = f"{used.day.requests} requests, {used.day.tokens:,} tokens{share}{money}" if used else ""
        configured = f"{'yes' if row.configured else 'no'}: {row.why}"
        cells.append(["*" if row.chosen else "", row.provider, configured, answers, model, today])
    told = [n for n in range(len(heads)) if heads[n] in ("provider", "configured") or any(line[n] for line in cells)]
    if args.offline:
        told = [n for n in told if heads[n] != "answers"]
    for number in told:
        table.add_column(heads[number], overflow="fold")
    for line in cells:
        table.add_row(*(escape(line[number]) for number in told))
    console = Console(highlight=False)
    console.print(table)
    if any(row.chosen for row in found):
        console.print("* would be used now")
    else:
        console.print("no key is set and no address is given: the embedded model would be used now")
    console.print("how fast they are: voice-agent providers bench --help")
    return 0


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "requests_today": reading.day.requests,
        "tokens_today": reading.day.tokens,
        "requests_last_minute": reading.minute.requests,
        "tokens_last_minute": reading.minute.tokens,
        "cost_today": reading.cost_today,
        "state": reading.state,
        "limits": [dataclasses.asdict(level) | {"share": round(level.share, 4)} for level in reading.levels],
    }


def _numbers(text: str, flag: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UsageError(f"{flag} {text}: wants numbers from 1 on, separated by commas")
    return numbers


def _names(args: argparse.Namespace, config: Config) -> list[str]:
    from ..config import provider_key
    from ..llm.bench.published_speeds import PUBLISHED
    from ..llm.endpoints import configured
    from ..llm.provider_table import PROVIDERS

    if not args.providers:
        usable = [row.name for row in PROVIDERS if row.key_env and configured(row, provider_key)]
        if config.llm.base_url:
            usable.append("settings")
        return usable or ["embedded"]
    found: list[str] = []
    for name in args.providers.split(","):
        inside = bool(found) and found[-1].startswith("sim:")
        if inside and (found[-1].count("(") > found[-1].count(")") or ("=" in name and ":" not in name)):
            found[-1] += f",{name}"  # a comma inside sim:ttft=lognormal(..,..),tps=..
        else:
            found += list(PUBLISHED) if name == "published" else [name.strip()]
    return found


def _bench(args: argparse.Namespace) -> int:
    if args.n < 1:
        raise UsageError("--n wants a number from 1 on")
    if args.out is not None and args.out.suffix not in (".md", ".json", ".html"):
        raise UsageError(f"--out {args.out}: its name must end in .md, .json or .html")
    config = read_config(args)
    contexts, together = _numbers(args.context, "--context"), _numbers(args.concurrency, "--concurrency")
    report = asyncio.run(_measured(args, config, contexts, together))
    kind = args.out.suffix if args.out is not None else ".md"
    text = {".md": report.as_markdown, ".json": report.as_json, ".html": report.as_html}[kind]()
    if args.out is None and sys.stdout.isatty():
        _show(report)
    elif args.out is None:
        print(text)
    else:
        try:
            args.out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {args.out}: {error.strerror}") from None
        print(f"written: {args.out}", file=sys.stderr)
    return 0 if any(timing.error is None for timing in report.timings) else 1


def _show(report: ProviderReport) -> None:
    """Print on a terminal (a pipe gets Markdown). Each interval is below its figure, to fit 80 columns."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for title, head, rows in report.tables():
        shown = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
        for number, name in enumerate(head):
            shown.add_column(name, justify="right" if number else "left", overflow="fold", vertical="top")
        for row in rows:
            below = (re.sub(r"^(\S+) \[(\S+), (\S+)\]$", r"\1\n\2-\3", cell) for cell in row)
            shown.add_row(*(cell.replace(" (simulated)", "\n(simulated)") for cell in below))
        console.print(shown, "", markup=False)
    for note in report.notes():
        console.print(f"- {note}", markup=False)


async def _measured(
    args: argparse.Namespace, config: Config, contexts: Sequence[int], together: Sequence[int]
) -> ProviderReport:
    from .. import meter
    from ..budget.export import read_jsonl
    from ..config import models, provider_key
    from ..errors import ProviderError
    from ..llm.bench.measure import measure
    from ..llm.bench.provider_report import ProviderReport
    from ..llm.bench.published_speeds import PUBLISHED
    from ..llm.client import ChatLLM
    from ..llm.endpoints import resolve
    from ..llm.start import running

    turns, problems = read_jsonl(args.turns) if args.turns is not None else ([], [])
    for problem in problems:
        print(problem, file=sys.stderr)
    clients: dict[str, ChatLLM] = {}
    labels: dict[str, str] = {}
    simulated: set[str] = set()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(meter.opened(config.meter))
        for name in _names(args, config):
            settings = config.llm
            if name != "settings":
                spec = PUBLISHED[name].spec if name in PUBLISHED else name
                settings = dataclasses.replace(settings, base_url=None, provider=None, spec=spec)
            # The whole of a long context is sent: the window must not shorten it.
            settings = dataclasses.replace(settings, context_tokens=max(config.llm.context_tokens, 2 * max(contexts)))
            end = stack.enter_context(running(resolve(settings, provider_key), models.smollm2))
            client = ChatLLM.from_config(settings, end)
            stack.push_async_callback(client.aclose)
            try:
                choice = await client.warm()
            except ProviderError as error:
                print(f"{name}: left out, {error}", file=sys.stderr)
                continue
            clients[name] = client
            labels[name] = f"{choice.model} at {end.label}"
            if name in PUBLISHED:
                labels[name] = f"{PUBLISHED[name].fact}, simulated at {end.label}"
            if end.simulated:
                simulated.add(name)
        if not clients:
            raise UsageError("no provider to measure; name some with --providers, or set a key")
        progress = _progress(len(clients) * len(contexts) * len(together) * args.n)
        timings = await measure(
            clients, args.n, contexts=contexts, concurrencies=together, seed=args.seed, on_timing=progress
        )
    return ProviderReport(tuple(timings), labels, frozenset(simulated), tuple(turns), args.seed)


def _progress(total: int) -> Callable[[RequestTiming], None]:
    done = 0

    def show(timing: RequestTiming) -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            end = "\r\033[K" if done == total else ""  # the tables follow
            print(f"\r{done} of {total} requests", end=end, file=sys.stderr, flush=True)

    return show
