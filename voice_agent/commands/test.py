"""``voice-agent test``: run scripts against an agent, check expectations, and compare with a baseline."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError, VoiceAgentError
from .common import EXIT_UNANSWERED, Verbs, add_settings, read_config

if TYPE_CHECKING:
    from ..config import Config
    from ..testing.scenario.results import Result, StepResult
    from ..testing.scenario.script_file import Script

RUNS = Path("out/runs")


def add(verbs: Verbs) -> None:
    """Add the verb."""
    test = verbs.add_parser("test", help="run scripted conversations (*.voice.yaml) and check them")
    test.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="scripts, or folders of them")
    test.add_argument("--repeat", type=int, default=1, metavar="N", help="go through each script N times (default 1)")
    test.add_argument(
        "--warmup", type=int, metavar="N", help="turns spoken first, not counted (default: 1 if repeated)"
    )
    test.add_argument("--seed", type=int, default=0, metavar="S", help="seed of noise, loss and intervals (default 0)")
    test.add_argument(
        "-k", dest="only", metavar="EXPR", help="only scripts whose name fits: 'echo or noise', 'not slow'"
    )
    test.add_argument(
        "--target", default="script", metavar="END", help="script (default), room, or a LiveKit ws:// URL"
    )
    test.add_argument(
        "--agent-name", metavar="NAME", help="the worker to be dispatched (default: one that comes by itself)"
    )
    test.add_argument("--against", type=Path, metavar="BASELINE", help="a baseline file, or a folder of them")
    test.add_argument("--update-baseline", action="store_true", help="write the baseline (beside the script, or there)")
    test.add_argument(
        "--tolerance", default="15ms", metavar="MS", help="how much slower is no regression (default 15ms)"
    )
    test.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help=f"where runs are kept (default {RUNS})")
    test.add_argument("--junit", type=Path, metavar="F", help="results as JUnit XML")
    test.add_argument("--json", type=Path, metavar="F", help="results as JSON")
    test.add_argument("--markdown", type=Path, metavar="F", help="results as Markdown, for a pull request")
    test.add_argument("--html", type=Path, metavar="F", help="the report as one page")
    test.add_argument("--judge", metavar="SPEC", help="model that judges texts (as --llm); left out: none is asked")
    test.add_argument("--schema", action="store_true", help="print the JSON Schema of scripts, for editors")
    test.add_argument("--list", action="store_true", help="only say which scripts there are, and what each guards")
    add_settings(test)
    test.set_defaults(run=_test)


def _test(args: argparse.Namespace) -> int:
    from ..testing.scenario.script_file import collect
    from ..testing.scenario.script_schema import json_schema
    from ..testing.scenario.select import select
    from ..testing.scenario.units import seconds

    if args.schema:
        print(json.dumps(json_schema(), indent=1))
        return 0
    if args.repeat < 1 or (args.warmup or 0) < 0 or args.seed < 0:
        raise UsageError("--repeat wants a number from 1 on, --warmup and --seed one from 0 on")
    if not args.paths:
        raise UsageError("name scripts (*.voice.yaml) or a folder of them")
    try:
        tolerance_ms = seconds(args.tolerance) * 1000
    except ValueError as error:
        raise UsageError(f"--tolerance {error}") from None
    scripts = select(collect(args.paths), args.only)
    if args.list:
        for script in scripts:
            print(f"{script.scenario.name:20}  {script.scenario.guards}")
        return 0
    config = read_config(args)
    results = asyncio.run(_run_all(args, scripts, config, tolerance_ms))
    _write_files(args, results)
    passed = sum(result.passed for result in results)
    print(f"{passed} of {len(scripts)} passed; runs in {args.runs}")
    if any(result.interrupted for result in results):
        return 130
    return 0 if passed == len(scripts) else EXIT_UNANSWERED


async def _run_all(
    args: argparse.Namespace, scripts: list[Script], config: Config, tolerance_ms: float
) -> list[Result]:
    from ..testing.scenario.runner import not_begun

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    results: list[Result] = []
    for place, script in enumerate(scripts, 1):
        name = script.scenario.name
        print(f"[{place}/{len(scripts)}] {name}: {script.scenario.guards}")
        try:
            result = await _run_one(args, script, config)
        except VoiceAgentError as error:
            # The next script may still start.
            result = not_begun(
                script, config, args.runs / name, error,
                target=args.target, repeat=args.repeat, warmup=args.warmup or 0, seed=args.seed,
            )  # fmt: skip
        except asyncio.CancelledError:
            break  # before the first turn: there is nothing to keep
        results.append(result)
        _compare(args, script, config, result, tolerance_ms)
        _show(result)
        if result.interrupted:
            break
    if len(results) < len(scripts) and not any(result.interrupted for result in results):
        print("interrupted", file=sys.stderr)
    return results


async def _run_one(args: argparse.Namespace, script: Script, config: Config) -> Result:
    from ..testing.scenario.llm_judge import judging
    from ..testing.scenario.runner import run_script
    from ..testing.scenario.targets import target_for

    target = target_for(args.target, agent_name=args.agent_name)
    async with judging(args.judge) as judge:
        return await run_script(
            script,
            config,
            args.runs / script.scenario.name,
            target=target,
            repeat=args.repeat,
            warmup=args.warmup,
            seed=args.seed,
            judge=judge,
            on_step=_progress,
            on_note=lambda text: print(f"      {text}", file=sys.stderr),
        )


def _compare(args: argparse.Namespace, script: Script, config: Config, result: Result, tolerance_ms: float) -> None:
    from ..testing.scenario.against_baseline import against, baseline_of
    from ..testing.scenario.results import rewrite_verdict
    from ..testing.verdict.baseline import Baseline, place, public_config

    if result.error is not None:
        return
    where = place(args.against or script.folder, result.name)
    if args.update_baseline:
        if result.interrupted:
            print(f"  {where} stays as it was: the run was interrupted", file=sys.stderr)
            return
        baseline_of(result, {k: public_config(config)[k] for k in ("stt", "turn", "tts")}).write(where)
        print(f"  baseline written: {where}")
    elif args.against is not None:
        result.comparison = against(result, Baseline.read(where), where, tolerance_ms=tolerance_ms)
        rewrite_verdict(result)


def _progress(step: StepResult) -> None:
    mark = "warm" if step.warmup else "FAIL" if step.failed else "ok"
    time = ""
    if step.row is not None and step.row.voice_to_voice_ms is not None:
        time = f"{step.row.voice_to_voice_ms:5.0f} ms"
    print(f"  {mark:4} {time:8} {step.name[:70]}", flush=True)
    for check in step.checks:
        if check.ok is False and not step.warmup:
            print(f"       line {step.line}: {check.what}: {check.said}")


def _show(result: Result) -> None:
    from ..budget.intervals import fewest_for

    if result.error is not None:
        print(f"  FAILED {result.error}")
        return
    figures = ", ".join(f"{name[:3].upper()} {f.short} ms" for name, f in result.intervals.items())
    cut = sum(turn.cut_off for turn in result.turns)
    print(f"  {figures or 'no voice-to-voice time'}, cut off {cut} of {len(result.turns)} (n = {len(result.turns)})")
    few = [name[:3].upper() for name, f in result.intervals.items() if f.low is None]
    if few:
        print(f"  no interval of {' and '.join(few)}: too few turns (P50 wants {fewest_for(50)}, P95 {fewest_for(95)})")
    for check in result.whole:
        if check.ok is False:
            print(f"       whole: {check.what}: {check.said}")
    if result.worst_difference_ms is not None:
        trust = "" if result.trusted else " - these figures are not to be trusted"
        print(f"  ledger against recording: worst {result.worst_difference_ms:.1f} ms, n={result.compared}{trust}")
    if result.comparison is not None:
        print(f"  against the baseline: {result.comparison}")
    word = "interrupted, what was measured is kept" if result.interrupted else "passed" if result.passed else "FAILED"
    print(f"  {word}: {result.folder}")


def _write_files(args: argparse.Namespace, results: list[Result]) -> None:
    from ..testing.report import markdown, report_on
    from ..testing.report.html import write_page
    from ..testing.scenario.junit import junit, summary, write_text
    from ..testing.scenario.results import write_json

    if args.junit is not None:
        write_text(args.junit, junit(results))
    if args.json is not None:
        write_json(args.json, summary(results))
    if (args.markdown is not None or args.html is not None) and results:
        report = report_on([result.folder for result in results])
        if args.markdown is not None:
            write_text(args.markdown, markdown(report))
        if args.html is not None:
            write_page(report, args.html)
