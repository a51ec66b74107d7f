"""Voice to voice on a folder of clips: ours, stock LiveKit, stock Pipecat, in one sitting.

All have the same Whisper, the same Piper voice and the same simulated language model, and all are measured on the
recording that they leave (recording.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clips as material
import environments
from clips import Clip
from recording import Measured, measure
from tables import markdown, ms, percentile, spread, write_lines

from voice_agent.config import models
from voice_agent.llm.local.sim import SimServer
from voice_agent.llm.sim_spec import SimSpec, parse_spec

HERE = Path(__file__).resolve().parent
SYSTEMS = ("ours", "livekit", "livekit-mini", "pipecat")
# After a hold a stock system may still answer the rest: the next clip waits longer for that.
SETTLE_S = {"whole": 0.7, "hold": 2.5}
LABEL = "simulated: language model ({pace}); the user is recorded speech on a real-time timeline"


@dataclass(frozen=True, slots=True)
class Job:
    """One session of one system over ``clips``."""

    system: str
    whisper: str
    clips: tuple[Clip, ...]
    folder: Path
    settle_s: float
    settings: tuple[str, ...] = ()

    @property
    def record(self) -> Path:
        return self.folder / f"{self.system}.wav"


@dataclass(frozen=True, slots=True)
class Result:
    """One clip in one session. ``ledger_s``: what our ledger says, None for the others."""

    system: str
    whisper: str
    repeat: int
    measured: Measured
    requests_a_turn: float
    ledger_s: float | None

    def row(self, label: str) -> dict[str, Any]:
        m = self.measured
        return {
            "system": self.system,
            "whisper": self.whisper,
            "clip": m.clip.name,
            "kind": m.clip.kind,
            "repeat": self.repeat,
            "voice_to_voice_ms": None if m.delay_s is None else round(m.delay_s * 1000, 1),
            "cut_off": m.cut_off,
            "overlap_ms": round(m.overlap_s * 1000, 1),
            "unanswered": m.unanswered,
            "ledger_ms": None if self.ledger_s is None else round(self.ledger_s * 1000, 1),
            "requests_a_turn_in_session": round(self.requests_a_turn, 2),
            "label": label,
        }


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="clips: NAME.wav, NAME.json, holds.json")
    verb.add_argument("--whisper", default="base", metavar="A,B", help="Whisper models (default: base)")
    verb.add_argument(
        "--systems",
        default="ours,livekit,pipecat",
        metavar="A,B",
        help=f"of {', '.join(SYSTEMS)} (default: %(default)s)",
    )
    verb.add_argument("--n", type=int, metavar="N", help="only the first N utterances and N holds")
    verb.add_argument(
        "--repeat", type=int, default=1, metavar="R", help="all of it R times, systems in turn (default 1)"
    )
    verb.add_argument("--llm", default="sim:ttft=170ms,tps=2314", metavar="SPEC", help="pace (default: %(default)s)")
    verb.add_argument("--voice", default="en_US-joe-medium", metavar="VOICE", help="Piper voice (default: %(default)s)")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of ours")
    verb.add_argument("--no-holds", action="store_true", help="leave the holds out")
    verb.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    systems = args.systems.split(",")
    if unknown := [s for s in systems if s not in SYSTEMS]:
        raise SystemExit(f"bench: --systems {unknown[0]}: there is {', '.join(SYSTEMS)}")
    spec = parse_spec(args.llm)
    pythons = _pythons(systems)
    groups = {"whole": material.utterances(args.folder, args.n)}
    groups["hold"] = [] if args.no_holds else material.holds(args.folder, n=args.n)
    label = LABEL.format(pace=spec)
    results: list[Result] = []
    args.out.mkdir(parents=True, exist_ok=True)
    lines = args.out / "compare.jsonl"
    lines.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        wavs = _write(Path(temporary), [c for group in groups.values() for c in group])
        for repeat in range(args.repeat):
            for whisper in args.whisper.split(","):
                turned = systems[repeat % len(systems) :] + systems[: repeat % len(systems)]
                for system in turned:
                    for kind, group in groups.items():
                        if not group:
                            continue
                        folder = args.out / f"{whisper.replace('/', '_')}-{kind}-{repeat + 1}"
                        folder.mkdir(parents=True, exist_ok=True)
                        job = Job(system, whisper, tuple(group), folder, SETTLE_S[kind], tuple(args.set))
                        print(f"bench: {system}, {whisper}, {len(group)} x {kind} ...", file=sys.stderr, flush=True)
                        done = _session(job, repeat + 1, spec, args.voice, wavs, pythons[system])
                        write_lines(lines, (r.row(label) for r in done))
                        results += done
    print(table(results, systems, args.whisper.split(",")))
    print(f"\n{label}. Same Whisper, same voice ({args.voice}), same pace; read off the recordings in {args.out}.")
    if differences := [
        abs(r.measured.delay_s - r.ledger_s)
        for r in results
        if r.measured.delay_s is not None and r.ledger_s is not None
    ]:
        print(f"Our ledger against the recording: worst difference {ms(max(differences))} ms, n={len(differences)}.")
    print(f"Every turn: {lines}")
    return 0


def table(results: Sequence[Result], systems: Sequence[str], whispers: Sequence[str]) -> str:
    """One row a system and Whisper. The percentiles are of whole utterances that were answered and not cut off."""
    head = [
        "system",
        "Whisper",
        "n",
        "P50 ms",
        "P95 ms",
        "max ms",
        "unanswered",
        "cut off whole",
        "cut off holds",
        "requests a turn",
    ]
    rows = []
    for whisper in whispers:
        ours = percentile(_delays(results, "ours", whisper), 50)
        for system in systems:
            mine = [r for r in results if (r.system, r.whisper) == (system, whisper)]
            whole = [r for r in mine if r.measured.clip.kind == "whole"]
            held = [r for r in mine if r.measured.clip.kind == "hold"]
            delays = _delays(results, system, whisper)
            p50 = percentile(delays, 50)
            requests = sum(r.requests_a_turn for r in whole) / len(whole) if whole else None
            rows.append(
                [
                    system,
                    whisper,
                    len(whole),
                    *spread(delays),
                    sum(r.measured.unanswered for r in whole),
                    f"{sum(r.measured.cut_off for r in whole)} of {len(whole)}",
                    f"{sum(r.measured.cut_off for r in held)} of {len(held)}" if held else None,
                    None if requests is None else f"{requests:.2f}",
                    f"{p50 / ours:.2f}" if p50 and ours else None,
                ]
            )
    return markdown([*head, "P50 : ours"], rows)


def _delays(results: Sequence[Result], system: str, whisper: str) -> list[float]:
    return [
        r.measured.delay_s
        for r in results
        if (r.system, r.whisper) == (system, whisper)
        and r.measured.clip.kind == "whole"
        and r.measured.delay_s is not None
    ]


def _pythons(systems: Sequence[str]) -> dict[str, Path]:
    own: Callable[[], Path] = lambda: Path(sys.executable)  # noqa: E731
    makers = {"ours": own, "livekit": environments.livekit, "pipecat": environments.pipecat}
    return {system: makers[system.removesuffix("-mini")]() for system in systems}


def _write(folder: Path, clips: Sequence[Clip]) -> dict[str, Path]:
    """Every system hears the same samples: mono, 16 kHz, 16 bit."""
    paths = {}
    for clip in clips:
        paths[clip.name] = folder / f"{clip.name}.wav"
        with wave.open(str(paths[clip.name]), "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(material.RATE)
            writer.writeframes(clip.pcm.tobytes())
    return paths


def _session(job: Job, repeat: int, spec: SimSpec, voice: str, wavs: dict[str, Path], python: Path) -> list[Result]:
    jsonl = job.record.with_suffix(".jsonl")
    jsonl.unlink(missing_ok=True)
    job.record.unlink(missing_ok=True)
    with SimServer(spec) as server:
        if job.system == "ours":
            command = _ours(job, server.base_url, voice, wavs, python, jsonl)
        else:
            command = _stock(job, server.base_url, voice, wavs, python)
        _call(command, job.record.with_suffix(".log"))
        requests = server.stats().requests / len(job.clips)
    ledger: list[float | None] = [None] * len(job.clips)
    if jsonl.is_file():
        turns = [json.loads(line) for line in jsonl.read_text().splitlines()]
        ledger = [None if t["voice_to_voice_ms"] is None else t["voice_to_voice_ms"] / 1000 for t in turns]
    found = measure(job.record, job.clips)
    return [Result(job.system, job.whisper, repeat, m, requests, at) for m, at in zip(found, ledger, strict=True)]


def _ours(job: Job, base_url: str, voice: str, wavs: dict[str, Path], python: Path, jsonl: Path) -> list[str]:
    options = ["--whisper", job.whisper, "--voice", voice, "--base-url", base_url, "--model", "simulated-70b"]
    options += ["--gap", str(job.settle_s), "--record", str(job.record), "--jsonl", str(jsonl)]
    for pair in job.settings:
        options += ["--set", pair]
    return [str(python), "-m", "voice_agent.cli", "script", *options, *(str(wavs[c.name]) for c in job.clips)]


def _stock(job: Job, base_url: str, voice: str, wavs: dict[str, Path], python: Path) -> list[str]:
    listed = job.folder / "clips.json"
    listed.write_text(json.dumps([{"wav": str(wavs[c.name]), "end_s": c.end_s} for c in job.clips]))
    name = job.system.removesuffix("-mini")
    options = ["--whisper", str(models.whisper(job.whisper)), "--voice", str(models.piper(voice)[0])]
    options += ["--base-url", base_url, "--clips", str(listed), "--record", str(job.record)]
    options += ["--settle", str(job.settle_s)]
    if job.system == "livekit-mini":
        options += ["--turn", "mini"]
    return [str(python), str(HERE / f"stock_{name}.py"), *options]


def _call(command: Sequence[str], log: Path) -> None:
    """Run it with its output in ``log``. Exit 1 of ours means that a turn was not answered: the table says so."""
    environment = {**os.environ, "PYTHONPATH": str(environments.ROOT)}
    with log.open("w") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode not in (0, 1) or "Traceback" in log.read_text():
        tail = "\n".join(log.read_text().splitlines()[-15:])
        raise SystemExit(f"bench: {Path(command[1]).name} ended with {done.returncode}; {log} ends with\n{tail}")
