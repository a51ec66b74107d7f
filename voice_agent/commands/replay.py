"""``voice-agent replay``: recorded turns under another turn policy, and what would have changed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .common import Verbs

if TYPE_CHECKING:
    from ..testing.replay import Recorded, ReplayOutcome
    from ..testing.replay.sweep import Compared


def add(verbs: Verbs) -> None:
    """Add the verb."""
    verb = verbs.add_parser("replay", help="recorded turns under another policy: what would have changed")
    verb.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="rows (.jsonl), or a run's directory")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as turn.patience=0.7")
    verb.add_argument("--json", action="store_true", help="one JSON object a turn")
    verb.set_defaults(run=_replay)


def read(runs: Sequence[Path]) -> tuple[list[Recorded], list[str]]:
    """The utterances of all files, and what could not be replayed. Raises UsageError if there is none."""
    from ..budget.export import read_jsonl
    from ..testing.replay import recorded

    found: list[Recorded] = []
    notes: list[str] = []
    for run in runs:
        path = run / "turns.jsonl" if run.is_dir() else run
        turns, problems = read_jsonl(path)
        some, more = recorded(turns)
        found += some
        notes += [f"{path}: {note}" for note in (*problems, *more)]
    if not found:
        raise UsageError(
            "\n".join([*notes[:3], "nothing to replay: record with 'voice-agent script ITEM --jsonl RUN.jsonl"])
            + " --set turn.record_evidence=true'"
        )
    return found, notes


def _replay(args: argparse.Namespace) -> int:
    from ..budget.stats import percentile
    from ..testing.replay.sweep import changes_of, compare

    changes = changes_of(args.set)
    found, notes = read(args.runs)
    compared = compare(found, changes)
    if args.json:
        for one in compared:
            print(json.dumps(_row(one), ensure_ascii=False))
        return 0
    print(f"{'turn':<6}{'measured':>9}{'replayed':>9}{'changed':>16}  {'cut off':<11}{'asked':<9}{'wasted':<12}user")
    for one in compared:
        row = _row(one)
        change = "" if row["change_ms"] is None else f" ({row['change_ms']:+.0f})"
        same, other = row["same"], row["other"]
        print(
            f"{row['turn']!s:<6}{_ms(row['measured_ms']):>9}{_ms(same['delay_ms']):>9}"
            f"{_ms(other['delay_ms']) + change:>16}  {_both(_yes(same), _yes(other)):<11}"
            f"{_both(str(same['requests']), str(other['requests'])):<9}"
            f"{_both(str(same['tokens_wasted']), str(other['tokens_wasted'])):<12}{row['user_text']}"
        )
    for name, outcomes in (("as recorded", [c.same for c in compared]), ("changed", [c.other for c in compared])):
        delays = sorted(o.delay_s * 1000 for o in outcomes if o.delay_s is not None and not o.cut)
        p50, p95 = (f"{percentile(delays, q):.0f}" if delays else "--" for q in (50, 95))
        cut, wasted = sum(o.cut for o in outcomes), sum(o.tokens_wasted for o in outcomes)
        print(f"{name:<12} P50 {p50}  P95 {p95} ms (n = {len(delays)}), cut off {cut} of {len(outcomes)},"
              f" {sum(o.requests for o in outcomes)} requests, {wasted} tokens wasted at most")  # fmt: skip
    exact = sorted(
        abs(c.same.delay_s * 1000 - c.recorded.delay_ms)
        for c in compared
        if c.same.delay_s is not None and c.recorded.delay_ms is not None
    )
    if exact:
        median, worst = f"{percentile(exact, 50):.0f} ms", f"{exact[-1]:.0f}"
        print(f"how true: under its own settings a replayed turn differs from the measured one by {median} (median;")
        print(f"largest {worst}, n = {len(exact)})")
    for note in notes:
        print(f"not replayed: {note}")
    return 0


def _row(one: Compared) -> dict[str, Any]:
    turn = one.recorded.turns[-1]
    return {
        "turn": turn.id,
        "item": turn.item,
        "user_text": " ".join(t.user_text for t in one.recorded.turns),
        "measured_ms": _rounded(one.recorded.delay_ms),
        "measured_cut_off": one.recorded.cut_off,
        "change_ms": _rounded(one.change_ms),
        "same": _side(one.same),
        "other": _side(one.other),
    }


def _side(outcome: ReplayOutcome) -> dict[str, Any]:
    return {
        "delay_ms": None if outcome.delay_s is None else _rounded(outcome.delay_s * 1000),
        "cut_off": outcome.cut,
        "requests": outcome.requests,
        "tokens_wasted": outcome.tokens_wasted,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _ms(value: float | None) -> str:
    return "--" if value is None else f"{value:.0f} ms"


def _yes(side: dict[str, Any]) -> str:
    return "yes" if side["cut_off"] else "no"


def _both(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"
