"""``voice-agent devices``: lists microphones and loudspeakers."""

from __future__ import annotations

import argparse
import dataclasses
import json

from .common import Verbs


def add(verbs: Verbs) -> None:
    """Add the verb."""
    devices = verbs.add_parser("devices", help="list microphones and loudspeakers")
    devices.add_argument("--json", action="store_true", help="for programs: one JSON array")
    devices.set_defaults(run=_devices)


def _devices(args: argparse.Namespace) -> int:
    from rich.console import Console

    from ..microphone.device_table import listing, table
    from ..microphone.portaudio import PortAudio

    rows = listing(PortAudio())
    if args.json:
        print(json.dumps([dataclasses.asdict(row.device) | {"rates_hz": row.rates_hz} for row in rows], indent=2))
    else:
        Console().print(table(rows))
    return 0
