"""From the start of ``voice-agent script`` to listening, and its peak memory, with the embedded language model."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from tables import markdown, percentile

from voice_agent.config import models


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--n", type=int, default=5, metavar="N", help="how often (default 5)")
    verb.add_argument("--whisper", default="base", metavar="A,B", help="Whisper models (default: base)")
    verb.add_argument("--llm", default="embedded", metavar="SPEC", help="language model (default: embedded)")
    verb.add_argument("--clip", type=Path, metavar="WAV", help="what is said (default: a short clip of assets/speech)")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    clip = args.clip or models.assets() / "speech" / "ask03.wav"
    rows = []
    for whisper in args.whisper.split(","):
        times, peaks = [], []
        for _ in range(args.n):
            listening_s, peak_mb = once(whisper, args.llm, clip)
            times.append(listening_s)
            peaks.append(peak_mb)
        numbers = [f"{percentile(times, q):.2f}" for q in (50, 95, 100)]
        rows.append([whisper, args.llm, args.n, *numbers, f"{max(peaks):.0f}"])
    print(markdown(["Whisper", "language model", "n", "P50 s", "P95 s", "max s", "peak memory MB"], rows))
    print("\nFrom the start of the process to listening (Python's start and imports included), then one spoken turn.")
    return 0


def once(whisper: str, llm: str, clip: Path) -> tuple[float, float]:
    """(seconds until it listens, peak memory in MB of one run). Raises SystemExit if it says neither."""
    command = [sys.executable, "-m", "voice_agent.cli", "script", "--whisper", whisper, "--llm", llm, str(clip)]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    listening_s, said = None, []
    for line in child.stderr:
        said.append(line)
        if listening_s is None and line.startswith("model "):  # the notes are printed the moment it listens
            listening_s = time.perf_counter() - began
    out, _ = child.communicate()
    peak = re.search(r"peak memory (\d+) MB", out)
    if listening_s is None or peak is None:
        raise SystemExit(f"bench: voice-agent script did not get to listening:\n{''.join(said[-10:])}")
    return listening_s, float(peak[1])
