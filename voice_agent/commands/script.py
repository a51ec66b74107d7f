"""``voice-agent script``: speak recordings to the agent and measure every turn."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..agent_setup.options import add_agent_flags
from ..agent_setup.options import load as load_agent
from ..errors import UsageError
from .common import Verbs, add_settings, read_config, require_local, run_items


def add(verbs: Verbs) -> None:
    """Add the verb."""
    script = verbs.add_parser("script", help="speak recordings to the agent and measure every turn")
    script.add_argument(
        "items",
        nargs="+",
        metavar="ITEM",
        help="an audio file (WAV, MP3, FLAC, Ogg ...), or text:... spoken by a Piper voice",
    )
    script.add_argument("--record", type=Path, metavar="OUT.wav", help="stereo recording: left user, right agent")
    script.add_argument("--jsonl", type=Path, metavar="OUT.jsonl", help="one JSON object a turn")
    script.add_argument("--repeat", type=int, default=1, metavar="N", help="speak all items N times (default 1)")
    script.add_argument("--gap", type=float, default=0.7, metavar="S", help="silence after a reply (default 0.7 s)")
    add_settings(script)
    add_agent_flags(script)
    script.set_defaults(run=_script)


def _script(args: argparse.Namespace) -> int:
    require_local()
    from ..testing.harness.items import load_item

    if args.repeat < 1 or args.gap < 0:
        raise UsageError("--repeat must be 1 or more, --gap 0 s or more")
    agent = load_agent(args, read_config(args))
    for note in agent.notes:
        print(note, file=sys.stderr)
    items = [load_item(spec, agent.config) for spec in args.items]
    return run_items(
        agent.config, items, args.record, args.jsonl, args.repeat, args.gap, tools=agent.tools, mcp=agent.mcp
    )
