"""``voice-agent doctor``: checks everything that a call needs, and says what to do next."""

from __future__ import annotations

import argparse
import dataclasses

from .common import Verbs, add_settings, read_config, require_local


def add(verbs: Verbs) -> None:
    """Add the verb."""
    doctor = verbs.add_parser("doctor", help="check this machine, its sound, the models and the provider")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument("--no-chirp", action="store_true", help="play nothing (leaves out the round trip)")
    doctor.add_argument("--input", metavar="DEVICE", help="microphone: its index or a part of its name")
    doctor.add_argument("--output", metavar="DEVICE", help="speaker: its index or a part of its name")
    add_settings(doctor)
    doctor.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    require_local()
    from rich.console import Console

    from ..config import provider_key
    from ..doctor.checks import checks, secrets
    from ..doctor.finding import examine
    from ..doctor.findings_output import FindingsScreen, as_json, passed

    config = read_config(args)
    named = {key: value for key in ("input", "output") if (value := getattr(args, key)) is not None}
    config = dataclasses.replace(config, audio=dataclasses.replace(config.audio, **named))
    listed, hidden = checks(config, provider_key, chirp=not args.no_chirp), secrets(config, provider_key)
    if args.json:
        found = examine(listed, secrets=hidden)
        print(as_json(found))
    else:
        with FindingsScreen(Console(highlight=False)) as screen:
            found = examine(listed, secrets=hidden, on_check=screen.check, on_finding=screen.finding)
        screen.summary(found)
    return 0 if passed(found) else 1
