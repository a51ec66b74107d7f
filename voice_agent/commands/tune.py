"""``voice-agent tune``: try values of one turn setting on recorded conversations, and draw the trade-off."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ..errors import UsageError
from .common import Verbs
from .replay import read


def add(verbs: Verbs) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "tune", help="try values of a turn setting on recorded conversations: delay against cut-offs"
    )
    verb.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="rows (.jsonl), or a run's directory")
    verb.add_argument(
        "--dial", required=True, metavar="KEY=LOW..HIGH/N", help="such as turn.patience=0..1/5, or =0,0.5,1"
    )
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="holds for all values of the dial"
    )
    verb.add_argument("--svg", type=Path, metavar="FILE", help="draw the trade-off")
    verb.add_argument("--json", action="store_true", help="one JSON object a value")
    verb.set_defaults(run=_tune)


def _tune(args: argparse.Namespace) -> int:
    from ..testing.replay.sweep import changes_of, parse_dial, picture, sweep

    dial, changes = parse_dial(args.dial), changes_of(args.set)
    found, notes = read(args.runs)
    points = sweep(found, dial, changes)
    if args.svg is not None:
        try:
            args.svg.parent.mkdir(parents=True, exist_ok=True)
            args.svg.write_text(picture(dial, points))
        except OSError as error:
            raise UsageError(
                f"{args.svg}: cannot be written ({error.strerror}); name a file in a folder of yours"
            ) from None
    if args.json:
        for point in points:
            print(json.dumps(asdict(point)))
        return 0
    print(
        f"{'turn.' + dial.key:<22}{'P50':>7}{'P95':>7}{'max':>7}  {'cut off':<12}{'silent':<8}{'asked':<7}wasted tokens"
    )
    for p in points:
        spread = ("--", "--", "--") if p.delay is None else (p.delay.p50_ms, p.delay.p95_ms, p.delay.max_ms)
        figures = "".join(f"{s:>7}" if isinstance(s, str) else f"{s:>7.0f}" for s in spread)
        print(
            f"{p.value:<22g}{figures}  {f'{p.cut_offs} of {p.n}':<12}{p.unanswered:<8}{p.requests:<7.2f}"
            f"{p.tokens_wasted:.0f} a turn"
        )
    print("times in ms from the end of speech to the first sound; asked: requests a turn")
    for note in notes:
        print(f"not replayed: {note}")
    if args.svg is not None:
        print(f"picture: {args.svg}")
    return 0
