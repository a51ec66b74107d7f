"""``voice-agent talk``: talk with the agent; without a sound card, hear the recorded demo."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from .common import Verbs, add_settings, read_config, run_items


def add(verbs: Verbs) -> None:
    """Add the verb."""
    talk = verbs.add_parser("talk", help="talk with the agent; without a sound card, hear the recorded demo")
    talk.add_argument("--demo", action="store_true", help="play the recorded conversation through the whole road")
    talk.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.wav and demo.jsonl (default: out)")
    add_settings(talk)
    talk.set_defaults(run=_talk)


def _talk(args: argparse.Namespace) -> int:
    config = read_config(args)
    if not args.demo and _has_sound():
        print("The microphone comes with the next release; until then: voice-agent talk --demo")
        return 0
    if not args.demo:
        print("No sound card here: playing the recorded demo instead (a talk needs a microphone and a speaker).")
    from .. import models
    from ..scripted import load_item

    demo = models.assets() / "demo" / "demo.json"
    items = [load_item(str(demo.parent / i["file"]), config) for i in json.loads(demo.read_text())["items"]]
    record, jsonl = args.out / "demo.wav", args.out / "demo.jsonl"
    jsonl.unlink(missing_ok=True)
    code = run_items(config, items, record, jsonl, 1, 0.7)
    print(f"Listen to it: {record} (left: the user, right: the agent). Every turn in full: {jsonl}")
    return code


def _has_sound() -> bool:
    """Whether there is a device to listen and one to speak with. Without PortAudio there is none."""
    try:
        import sounddevice

        return all(sounddevice.query_devices(kind=kind) for kind in ("input", "output"))
    except (OSError, ValueError, ImportError):  # PortAudio is missing; no default device
        return False
    except Exception as e:  # sounddevice.PortAudioError, which cannot be named if the import failed
        logging.getLogger("voice_agent").debug("no sound: %s", e)
        return False
