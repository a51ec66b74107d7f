"""``voice-agent room``: a LiveKit worker that joins calls."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

from ..agent_setup.options import add_agent_flags
from ..agent_setup.options import load as load_agent
from .common import Verbs, add_settings, read_config, require_local


def add(verbs: Verbs) -> None:
    """Add the verb."""
    room = verbs.add_parser("room", help="a LiveKit worker that joins calls (docs/rooms.md)")
    modes = room.add_subparsers(required=True, metavar="MODE", dest="mode")
    for mode, about in (
        ("dev", "take calls without a limit, and end at once: for trying it"),
        ("start", "take calls as long as the machine is not full; SIGTERM lets running calls end"),
        ("connect", "join one room that is there, or will be, without being dispatched"),
    ):
        one = modes.add_parser(mode, help=about, description=about)
        one.add_argument("--url", metavar="URL", help="the LiveKit server (LIVEKIT_URL)")
        # LiveKit's own command has --api-key too; here that name is the language model's, as in every other verb.
        one.add_argument("--livekit-api-key", metavar="KEY", help="its key (better: LIVEKIT_API_KEY)")
        one.add_argument("--livekit-api-secret", metavar="SECRET", help="its secret (better: LIVEKIT_API_SECRET)")
        if mode == "connect":
            one.add_argument("--room", required=True, metavar="NAME", help="the room to join")
        else:
            one.add_argument(
                "--agent-name",
                default="",
                metavar="NAME",
                help="wait to be dispatched by this name (default: any room)",
            )
        one.add_argument(
            "--host", default="127.0.0.1", metavar="HOST", help="for health and metrics (default: loopback)"
        )
        default = 0 if mode != "start" else 8081
        one.add_argument(
            "--port", type=int, default=default, metavar="PORT", help=f"health (default {default}; 0: any)"
        )
        one.add_argument("--metrics-port", type=int, metavar="PORT", help="Prometheus, on /metrics (default: none)")
        add_settings(one)
        add_agent_flags(one)
        one.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    require_local()
    from ..room.access import API_KEY, API_SECRET, URL, find_access
    from ..room.worker import Listen, Worker, until_signal
    from ..testing.harness.faults import Faults

    config = read_config(args)
    agent = load_agent(args, config)
    access = find_access({URL: args.url, API_KEY: args.livekit_api_key, API_SECRET: args.livekit_api_secret})
    if not args.verbose:
        logging.getLogger("voice_agent.room").setLevel(logging.INFO)
        # LiveKit's warnings (a server that is away, and when it is tried again) are for the operator.
        logging.getLogger("livekit").setLevel(logging.WARNING)
        logging.getLogger("livekit").addFilter(is_no_double_drop)
    for note in agent.notes:
        _say(note)

    async def go() -> None:
        worker = Worker(
            agent.config,
            access,
            agent_name=getattr(args, "agent_name", ""),
            listen=Listen(args.host, args.port, args.metrics_port),
            limited=args.mode == "start",
            tools=agent.tools,
            # A connection belongs to the loop of its call, so each call gets servers of its own.
            mcp=(lambda: load_agent(args, config).mcp) if agent.mcp else tuple,
            hooks=Faults(config.debug),
            progress=_say,
            room=args.room if args.mode == "connect" else None,
        )
        await until_signal(worker, (signal.SIGINT, signal.SIGTERM))

    asyncio.run(go())
    return 0


def is_no_double_drop(record: logging.LogRecord) -> bool:
    """A log filter: False for a warning that means no harm.

    When a room is closed, LiveKit's native side drops the handles of all tracks that were in it, and warns of those
    that were dropped already, when their participants left (livekit 1.1.21, livekit-ffi's FfiRoom::close).
    """
    return "Attempted to drop unknown FFI handle" not in record.getMessage()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
