"""``voice-agent report``: what was measured, as a page, a comment for a pull request, JUnit XML."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path

from ..errors import UsageError
from .common import Verbs

DEFAULT = Path("out/report.html")


def add(verbs: Verbs) -> None:
    """Add the verb."""
    report = verbs.add_parser("report", help="runs as an HTML page, Markdown or JUnit XML; two runs side by side")
    report.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a directory of 'test' (or the folder of them), a folder of 'talk --save', a file of 'script --jsonl';"
        " of two runs of one script, the first is taken for the one before",
    )
    report.add_argument("--html", type=Path, metavar="FILE", help=f"one page with everything in it (default {DEFAULT})")
    report.add_argument("--markdown", type=Path, metavar="FILE", help="a comment for a pull request")
    report.add_argument("--junit", type=Path, metavar="FILE", help="JUnit XML")
    report.add_argument("--audio", type=float, default=24.0, metavar="MB", help="most sound in the page (default 24)")
    report.add_argument(
        "--names",
        default="before,after",
        metavar="A,B",
        help="what two runs side by side are called (default %(default)s)",
    )
    report.add_argument("--open", action="store_true", help="show the page in the browser")
    report.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> int:
    from ..config.redaction import redact
    from ..testing.report.collect import collect
    from ..testing.report.html import write_page
    from ..testing.report.markdown import markdown
    from ..testing.report.overall_verdict import overall
    from ..testing.report.read_runs import load
    from ..testing.scenario.junit import junit, write_text

    if not 0 <= args.audio <= 2000:
        raise UsageError("--audio wants megabytes, 0 (no sound) to 2000")
    first, _, second = (part.strip() for part in args.names.partition(","))
    if not (first and second) or "," in second:
        raise UsageError("--names wants two, as in --names stock,ours")
    page: Path | None = args.html
    if page is None and (args.open or not (args.markdown or args.junit)):
        page = DEFAULT
    report = collect(load(args.runs), lambda text: print(text, file=sys.stderr), names=(first, second))
    for note in report.notes:
        print(note, file=sys.stderr)
    if page is not None:
        write_page(report, page, audio_mb=args.audio)
        print(page)
    if args.markdown is not None:
        write_text(args.markdown, markdown(report))
        print(args.markdown)
    if args.junit is not None:
        write_text(args.junit, redact(junit([run.result for run in report.runs])))
        print(args.junit)
    said = overall(report)
    print(f"{said['word']}: {said['text']}")
    if args.open and page is not None and not webbrowser.open(page.resolve().as_uri()):
        print("no browser could be opened; open the file yourself", file=sys.stderr)
    return 0
