"""``voice-agent web``: serves a page to call the agent from, and starts what it needs."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys

from ..agent_setup.options import add_agent_flags
from .common import Verbs, add_settings, read_config, require_local


def add(verbs: Verbs) -> None:
    """Add the verb."""
    web = verbs.add_parser("web", help="serve a page to call the agent from a browser")
    web.add_argument("--host", metavar="ADDRESS", help="where to serve it (default 127.0.0.1: this machine only)")
    web.add_argument("--port", type=int, metavar="N", help="its port (default 8090; 0: any that is free)")
    web.add_argument(
        "--secret", metavar="WORD", help="what callers must know (better: the variable VOICE_AGENT_WEB_SECRET)"
    )
    web.add_argument("--behind-auth", action="store_true", help="a proxy of your own asks who the callers are")
    web.add_argument("--no-worker", action="store_true", help="the agent's worker runs elsewhere (web.agent_name)")
    add_settings(web)
    add_agent_flags(web)
    web.set_defaults(run=_web)


def _web(args: argparse.Namespace) -> int:
    from ..config import Secret
    from ..web import launch

    config = read_config(args)
    named = {"host": args.host, "port": args.port, "secret": None if args.secret is None else Secret(args.secret)}
    changes = {name: value for name, value in named.items() if value is not None}
    if args.behind_auth:
        changes["behind_auth"] = True
    config = dataclasses.replace(config, web=dataclasses.replace(config.web, **changes))
    if not args.no_worker:
        require_local()

    def log(line: str) -> None:
        if args.verbose:
            print(line, file=sys.stderr)

    worker = None if args.no_worker else [*launch.WORKER, *_agent_flags(args)]
    return asyncio.run(launch.run(config, say=lambda text: print(text, flush=True), log=log, worker=worker))


def _agent_flags(args: argparse.Namespace) -> list[str]:
    """The flags of ``add_agent_flags`` for the worker: it loads persona and tools, not this process."""
    flags: list[str] = []
    for name in ("instructions", "persona", "language", "tools", "mcp"):
        value = getattr(args, name)
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            flags.append(f"--{name}={one}")
    return flags
