"""``voice-agent talk``: talk with the agent; without a sound card, hear the recorded demo."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..agent_setup.options import AgentOptions, add_agent_flags
from ..agent_setup.options import load as load_agent
from ..errors import AudioError, UsageError
from .common import Verbs, add_settings, read_config, require_local, run_items

if TYPE_CHECKING:
    from rich.console import Console

    from ..budget.turn_verdict import Budget
    from ..talk.event_pump import EventSink
    from ..talk.events import SoundLevel
    from ..talk.save import Saved


def add(verbs: Verbs) -> None:
    """Add the verb."""
    talk = verbs.add_parser("talk", help="talk with the agent; without a sound card, hear the recorded demo")
    talk.add_argument("--save", type=Path, metavar="DIR", help="keep the conversation: sound, ledger rows, transcript")
    talk.add_argument("--json", action="store_true", help="one JSON object an event instead of a screen (docs/talk.md)")
    talk.add_argument("--muted", action="store_true", help="begin muted: press space to talk")
    talk.add_argument("--demo", action="store_true", help="play the recorded conversation through the whole pipeline")
    talk.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.wav and demo.jsonl (default: out)")
    # For the picture in the README: the screen when q is pressed.
    talk.add_argument("--screenshot", type=Path, metavar="FILE.svg", help=argparse.SUPPRESS)
    devices = talk.add_argument_group("sound (voice-agent devices lists them)")
    devices.add_argument("--input", metavar="DEVICE", help="microphone, by number or part of its name")
    devices.add_argument("--output", metavar="DEVICE", help="speaker, by number or part of its name")
    devices.add_argument("--no-aec", action="store_true", help="no echo cancellation: for headsets")
    add_settings(talk)
    add_agent_flags(talk)
    talk.set_defaults(run=_talk)


def _talk(args: argparse.Namespace) -> int:
    require_local()
    agent = load_agent(args, read_config(args, _sound_flags(args)))
    if args.demo or not _has_sound():
        if not args.demo:
            print(
                "No sound card here: playing the recorded demo instead (a talk needs a microphone and a speaker).",
                file=sys.stderr,
            )
        return _demo(agent, args.out)
    return _call(args, agent)


def _sound_flags(args: argparse.Namespace) -> dict[str, str | bool | None]:
    return {"audio.input": args.input, "audio.output": args.output, "audio.aec": False if args.no_aec else None}


def _call(args: argparse.Namespace, agent: AgentOptions) -> int:
    from rich.console import Console

    from ..budget.turn_verdict import Budget
    from ..microphone.open_microphone import open_microphone
    from ..pipeline.session import open_session
    from ..runtime.malloc import set_malloc_thresholds
    from ..talk.live_screen import ScreenSink
    from ..talk.save import Saved
    from ..talk.talk_call import Talk
    from ..talk.user_interface import run_call
    from ..testing.harness.faults import Faults

    set_malloc_thresholds()
    budget = Budget.from_config(agent.config.budget)
    console = Console()
    if args.screenshot is not None and (args.json or not console.is_terminal):
        raise UsageError("--screenshot needs a terminal")
    save: Saved | None = Saved(args.save, budget) if args.save is not None else None
    try:
        talk = Talk(agent.config, open_microphone, save, args.muted, agent.tools, agent.mcp, agent.notes)
        talk.open_agent_session = functools.partial(open_session, hooks=Faults(agent.config.debug))
        sink = _sink(args.json, console, budget, talk.sound)
        if args.screenshot is not None and isinstance(sink, ScreenSink):
            talk.on_quit = functools.partial(sink.save_svg, args.screenshot)
        keys_fd = sys.stdin.fileno() if sys.stdin is not None and not sys.stdin.closed else None
        code = asyncio.run(run_call(talk, sink, keys_fd=keys_fd))
    finally:
        if save is not None:
            save.close()
    if save is not None and not args.json:
        print(f"saved in {save.folder}")
    return code


def _sink(as_json: bool, console: Console, budget: Budget, sound: Callable[[], SoundLevel | None]) -> EventSink:
    """A live screen on a terminal, plain lines elsewhere, JSON with ``--json``."""
    from ..talk.live_screen import ScreenSink
    from ..talk.plain import JsonSink, PlainSink

    if as_json:
        return JsonSink(sys.stdout, budget)
    if not console.is_terminal or console.is_dumb_terminal:
        return PlainSink(sys.stdout, budget)
    return ScreenSink(console, budget, sound)


def _demo(agent: AgentOptions, out: Path) -> int:
    """Run the recorded conversation through the whole pipeline."""
    from ..config import models
    from ..testing.harness.items import load_item

    for note in agent.notes:
        print(note, file=sys.stderr)
    demo = models.assets() / "demo" / "demo.json"
    items = [load_item(str(demo.parent / i["file"]), agent.config) for i in json.loads(demo.read_text())["items"]]
    record, jsonl = out / "demo.wav", out / "demo.jsonl"
    jsonl.unlink(missing_ok=True)
    code = run_items(agent.config, items, record, jsonl, 1, 0.7, tools=agent.tools, mcp=agent.mcp)
    print(f"Listen to it: {record} (left: the user, right: the agent). Every turn in full: {jsonl}")
    return code


def _has_sound() -> bool:
    """Whether there is a microphone and a loudspeaker. Without PortAudio there is neither."""
    from ..microphone.portaudio import PortAudio

    try:
        devices = PortAudio().devices()
    except (AudioError, OSError) as e:
        logging.getLogger("voice_agent").debug("no sound: %s", e)
        return False
    return any(d.inputs for d in devices) and any(d.outputs for d in devices)
