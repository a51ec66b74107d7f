"""The command ``voice-agent``: one function a verb, each parses, builds and runs; the work is elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .config import Config, FlagValue, load
from .errors import UsageError, VoiceAgentError

if TYPE_CHECKING:
    from .scripted import Item

EXIT_UNANSWERED, EXIT_USAGE = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 good, 1 not every turn was answered or a failure, 2 bad usage."""
    parser = _parser()
    args = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s"
    )
    if not args.verbose:  # LiveKit logs a failed turn's traceback; the turn's own line says what failed and what to do
        logging.getLogger("livekit").setLevel(logging.CRITICAL)
    try:
        return int(args.run(args))
    except UsageError as e:
        print(f"voice-agent: {e}", file=sys.stderr)
        return EXIT_USAGE
    except VoiceAgentError as e:
        from .errors import AudioError, ConfigError

        print(f"voice-agent: {e}", file=sys.stderr)
        return EXIT_USAGE if isinstance(e, AudioError | ConfigError) else 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("voice-agent: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="voice-agent", description="A voice agent that answers for its milliseconds.")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    talk = verbs.add_parser("talk", help="talk with the agent; without a sound card, hear the recorded demo")
    talk.add_argument("--demo", action="store_true", help="play the recorded conversation through the whole road")
    talk.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.wav and demo.jsonl (default: out)")
    _settings(talk)
    talk.set_defaults(run=_talk)

    script = verbs.add_parser("script", help="speak recordings to the agent and measure every turn")
    script.add_argument("items", nargs="+", metavar="ITEM", help="a WAV file, or text:... spoken by a Piper voice")
    script.add_argument("--record", type=Path, metavar="OUT.wav", help="stereo recording: left user, right agent")
    script.add_argument("--jsonl", type=Path, metavar="OUT.jsonl", help="one JSON object a turn")
    script.add_argument("--repeat", type=int, default=1, metavar="N", help="speak all items N times (default 1)")
    script.add_argument("--gap", type=float, default=0.7, metavar="S", help="silence after a reply (default 0.7 s)")
    _settings(script)
    script.set_defaults(run=_script)
    return parser


def _settings(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--config", type=Path, metavar="FILE", help="TOML file (docs/configuration.md)")
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, such as turn.patience=0.7"
    )
    verb.add_argument("--llm", metavar="SPEC", help="embedded, a provider's name, or sim:ttft=170ms,tps=2314")
    verb.add_argument("--base-url", metavar="URL", help="any OpenAI-compatible endpoint")
    verb.add_argument("--api-key", metavar="KEY", help="its key (better: the provider's environment variable)")
    verb.add_argument("--model", metavar="MODEL", help="model id; left out, one is chosen from those served")
    verb.add_argument("--whisper", metavar="MODEL", help="tiny.en, base, a folder or a hub id")
    verb.add_argument("--voice", metavar="VOICE", help="Piper voice: name or path of an .onnx")


def _config(args: argparse.Namespace) -> Config:
    flags: dict[str, FlagValue] = {}
    for pair in args.set:
        key, found, value = pair.partition("=")
        if not found:
            raise UsageError(f"--set {pair}: wants KEY=VALUE, such as --set turn.patience=0.7")
        flags[key] = value
    named = {
        "llm.spec": args.llm,
        "llm.base_url": args.base_url,
        "llm.api_key": args.api_key,
        "llm.model": args.model,
        "stt.model": args.whisper,
        "tts.voice": args.voice,
    }
    flags.update({k: v for k, v in named.items() if v is not None})
    return load(args.config, flags=flags)


def _script(args: argparse.Namespace) -> int:
    from .scripted import load_item

    if args.repeat < 1 or args.gap < 0:
        raise UsageError("--repeat wants a number from 1 on, --gap seconds from 0 on")
    config = _config(args)
    items = [load_item(spec, config) for spec in args.items]
    return _run_items(config, items, args.record, args.jsonl, args.repeat, args.gap)


def _talk(args: argparse.Namespace) -> int:
    config = _config(args)
    if not args.demo and _has_sound():
        print("The microphone comes with the next release; until then: voice-agent talk --demo")
        return 0
    if not args.demo:
        print("No sound card here: playing the recorded demo instead (a talk needs a microphone and a speaker).")
    from . import models
    from .scripted import load_item

    demo = models.assets() / "demo" / "demo.json"
    items = [load_item(str(demo.parent / i["file"]), config) for i in json.loads(demo.read_text())["items"]]
    record, jsonl = args.out / "demo.wav", args.out / "demo.jsonl"
    jsonl.unlink(missing_ok=True)
    code = _run_items(config, items, record, jsonl, 1, 0.7)
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


def _run_items(
    config: Config, items: Sequence[Item], record: Path | None, jsonl: Path | None, repeat: int, gap_s: float
) -> int:
    from .budget.ledger import Budget
    from .budget.report import ConsoleReport
    from .scripted import Run, run

    report = ConsoleReport(budget=Budget.from_config(config.budget))

    async def go() -> Run:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await run(
            config,
            items,
            record=record,
            jsonl=jsonl,
            repeat=repeat,
            gap_s=gap_s,
            on_turn=lambda turn, item: report.turn(turn),
            on_note=lambda text: print(text, file=sys.stderr),
        )

    with report:
        result = asyncio.run(go())
    report.summary()
    print(f"listening after {result.listening_after_s:.1f} s, peak memory {result.peak_rss_mb:.0f} MB")
    if result.worst_difference_ms is not None:
        trust = "" if result.worst_difference_ms <= 20 else " - do not trust these figures"
        worst = f"{result.worst_difference_ms:.1f} ms, n={result.compared}"
        print(f"ledger against recording: worst difference {worst}{trust}")
    if result.interrupted:
        return 130
    return 0 if result.all_answered else EXIT_UNANSWERED


if __name__ == "__main__":
    sys.exit(main())
