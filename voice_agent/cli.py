"""The command ``voice-agent``: finds the verbs in ``commands``, and turns errors into messages and exit codes."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import pkgutil
import sys
from collections.abc import Sequence

from . import commands
from .commands.common import EXIT_USAGE, LOCAL_MODULES, NEEDS_LOCAL
from .errors import AudioError, ConfigError, UsageError, VoiceAgentError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 good, 1 not every turn was answered or a failure, 2 bad usage."""
    parser = _parser()
    args = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("voice_agent.config").setLevel(logging.WARNING)  # ignored variables
    if not args.verbose:  # LiveKit logs a failed turn's traceback; the turn's own line says what failed and what to do
        logging.getLogger("livekit").setLevel(logging.CRITICAL)
    try:
        return int(args.run(args))
    except UsageError as e:
        print(f"voice-agent: {e}", file=sys.stderr)
        return EXIT_USAGE
    except VoiceAgentError as e:
        print(f"voice-agent: {e}", file=sys.stderr)
        return EXIT_USAGE if isinstance(e, AudioError | ConfigError) else 1
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in LOCAL_MODULES:
            raise
        print(f"voice-agent: {NEEDS_LOCAL}", file=sys.stderr)
        return EXIT_USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("voice-agent: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="voice-agent", description="A voice agent that answers for its milliseconds.")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    for module in pkgutil.iter_modules(commands.__path__):
        verb = importlib.import_module(f"{commands.__name__}.{module.name}")
        if hasattr(verb, "add"):
            verb.add(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
