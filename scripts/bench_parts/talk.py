"""`voice-agent talk` on virtual devices: voice to voice beside `voice-agent script`, processor time, lost sound.

A PulseAudio server of its own with a virtual loudspeaker and microphone; talk runs on a terminal, with everything on
(echo cancellation, screen, recording). The clips are spoken into the microphone one after the other. Voice to voice is
read off the two devices' monitors, by their samples alone, so the latency of both devices is in it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import clips as material
import numpy as np
import psutil
from clips import Clip
from compare import _write
from recording import measure
from tables import markdown, ms, percentile

from voice_agent.audio.resampling import resample
from voice_agent.audio.timeline import AUDIBLE
from voice_agent.config import models
from voice_agent.talk.save import ROWS, TRANSCRIPT

sys.path.append(str(Path(__file__).parents[2]))  # the virtual devices and the terminal are those of the tests
from tests.support.pulse import RATE, NoPulse, Pulse, Tap, place, serving
from tests.support.terminal import OnTerminal

SPEC = "sim:ttft=170ms,tps=2314"
COLUMNS = 100
READY_S = 120.0
PATIENCE_S = 15.0  # then a clip counts as unanswered
SETTLE_S = 0.7  # of silence after a reply, as in `voice-agent script`
NEEDLE_S = 1.0  # the last second of a clip's speech is looked for: what a busy device left out before does not matter


@dataclass(slots=True)
class Outcome:
    """Delays in seconds, of the clips that were answered and not cut off; ``ledger_s``: of all rows that have one."""

    recorded_s: list[float] = field(default_factory=list)
    ledger_s: list[float] = field(default_factory=list)
    cut_off: int = 0
    unanswered: int = 0

    def add(self, delay_s: float | None) -> None:
        """One clip: its delay, None without an answer; negative if the agent was heard before its end."""
        if delay_s is None:
            self.unanswered += 1
        elif delay_s < -0.02:  # what the monitors' places are good for
            self.cut_off += 1
        else:
            self.recorded_s.append(delay_s)


@dataclass(slots=True)
class Talked(Outcome):
    """``silent``, ``talking``: processor time as a share of one core. Latencies as the devices report them."""

    silent: float = 0.0
    talking: float = 0.0
    input_ms: float | None = None
    output_ms: float | None = None
    xruns: tuple[int, int] = (0, 0)


def add(verb: argparse.ArgumentParser) -> None:
    speech = models.assets() / "speech"
    verb.add_argument("folder", type=Path, nargs="?", default=speech, metavar="FOLDER", help="(default: assets/speech)")
    verb.add_argument("--n", type=int, metavar="N", help="only the first N utterances")
    verb.add_argument("--whisper", default="base", metavar="MODEL", help="(default: %(default)s)")
    verb.add_argument("--llm", default=SPEC, metavar="SPEC", help="pace (default: %(default)s)")
    verb.add_argument("--silence", type=float, default=30.0, metavar="S", help="listen to silence so long (default 30)")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting")
    verb.add_argument("--no-script", action="store_true", help="leave out voice-agent script on the same clips")
    verb.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    found = material.utterances(args.folder, args.n)
    args.out.mkdir(parents=True, exist_ok=True)
    settings = ["--whisper", args.whisper, "--llm", args.llm, *(word for pair in args.set for word in ("--set", pair))]
    try:
        with tempfile.TemporaryDirectory() as folder, serving() as pulse:
            talked = _talk(pulse, found, settings, args.silence, Path(folder) / "kept", args.out / "talk.log")
    except NoPulse as missing:
        raise SystemExit(f"bench: {missing}") from missing
    script = None if args.no_script else _script(found, settings, args.out)
    print(table(talked, script, len(found), args.silence))
    print(f"\nWhisper {args.whisper}. Simulated: the language model ({args.llm}), the devices (PulseAudio null sinks).")
    return 0


def table(talked: Talked, script: Outcome | None, clips: int, silence_s: float) -> str:
    """One row a measure; times in ms."""
    columns = [talked.recorded_s, talked.ledger_s, *([script.recorded_s, script.ledger_s] if script else [[], []])]
    counts: list[Outcome | None] = [talked, script]
    rows: list[list[object]] = [
        ["voice to voice, n", *(len(c) or None for c in columns)],
        *([f"voice to voice P{q} (ms)", *(ms(percentile(c, q)) for c in columns)] for q in (50, 95)),
        ["voice to voice max (ms)", *(ms(max(c, default=None)) for c in columns)],  # type: ignore[type-var]
        [f"cut off, of {clips}", *(x for o in counts for x in (o.cut_off if o else None, None))],
        [f"unanswered, of {clips}", *(x for o in counts for x in (o.unanswered if o else None, None))],
        ["device latency as reported, in / out (ms)", f"{talked.input_ms} / {talked.output_ms}", *[None] * 3],
        [f"processor, {silence_s:g} s of silence (one core)", f"{talked.silent:.1%}", *[None] * 3],
        ["processor, talking (one core)", f"{talked.talking:.1%}", *[None] * 3],
        ["sound lost (xruns), in / out", "{} / {}".format(*talked.xruns), *[None] * 3],
    ]
    if script and talked.recorded_s and script.recorded_s and talked.input_ms is not None:
        more = np.median(talked.recorded_s) - np.median(script.recorded_s)
        beyond = more * 1000 - talked.input_ms - (talked.output_ms or 0.0)
        rows.append(["P50 above script beyond the device latency (ms)", f"{beyond:.0f}", *[None] * 3])
    head = ["", "talk, by its sound", "talk, ledger", "script, by its sound", "script, ledger"]
    return markdown(head, rows)


# --- talk -------------------------------------------------------------------------------------------------------------


def _talk(
    pulse: Pulse, found: Sequence[Clip], settings: Sequence[str], silence_s: float, kept: Path, log: Path
) -> Talked:
    argv = [sys.executable, "-m", "voice_agent.cli", "talk", *settings, "--save", str(kept)]
    speaker, mic = pulse.tap("speaker.monitor"), pulse.tap("mic.monitor")
    out = Talked()
    with _terminal(argv, pulse.environment, log) as terminal:
        _until(lambda: b"listening" in terminal.seen, READY_S, terminal)
        time.sleep(3.0)  # what is made ahead is made now
        process = psutil.Process(terminal.child.pid)
        out.silent = _processor(process, lambda: time.sleep(silence_s))
        spoken: list[tuple[float, float]] = []

        def speak() -> None:
            for clip in found:
                spoken.append(_say(pulse, clip, kept / ROWS, speaker, terminal))

        out.talking = _processor(process, speak)
        terminal.press(b"q")
        _until(lambda: terminal.child.poll() is not None, 30.0, terminal)
    speaker.stop()
    mic.stop()
    for clip, (since, until) in zip(found, spoken, strict=True):
        out.add(_delay(clip, mic, speaker, since, until))
    rows = [json.loads(line) for line in (kept / ROWS).read_text().splitlines()]
    out.ledger_s = [r["voice_to_voice_ms"] / 1000 for r in rows if r["voice_to_voice_ms"] is not None]
    page = (kept / TRANSCRIPT).read_text()
    if told := re.search(r"latency as reported: input (\d+) ms, output (\d+) ms", page):
        out.input_ms, out.output_ms = float(told[1]), float(told[2])
    if lost := re.search(r"Sound was lost (\d+) times at the microphone, (\d+) times", page):
        out.xruns = int(lost[1]), int(lost[2])
    return out


@contextmanager
def _terminal(argv: list[str], environment: dict[str, str], log: Path) -> Iterator[OnTerminal]:
    terminal = OnTerminal(argv, environment, columns=COLUMNS)
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            terminal.drain()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield terminal
    finally:
        over.set()
        reader.join(timeout=5)
        terminal.close()
        log.write_bytes(terminal.seen)


def _until(done: Callable[[], bool], limit_s: float, terminal: OnTerminal) -> None:
    end = time.monotonic() + limit_s
    while not done():
        if terminal.child.poll() is not None or time.monotonic() > end:
            raise SystemExit(
                "bench: voice-agent talk has ended or hangs; the log says why:\n" + terminal.read()[-1500:]
            )
        time.sleep(0.05)


def _processor(process: psutil.Process, during: Callable[[], None]) -> float:
    """Share of one core that ``process`` took meanwhile (its children, such as the simulated model, not)."""
    before, began = process.cpu_times(), time.monotonic()
    during()
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began)


def _say(pulse: Pulse, clip: Clip, rows: Path, speaker: Tap, terminal: OnTerminal) -> tuple[float, float]:
    """Speak and wait until it has been answered and the answer heard; returns when that began and ended."""

    def count() -> int:
        return len(rows.read_text().splitlines()) if rows.is_file() else 0

    before, since = count(), time.monotonic()
    pulse.say(resample(clip.pcm, material.RATE, RATE), RATE).wait()
    end = time.monotonic()
    while terminal.child.poll() is None:
        time.sleep(0.05)
        now = time.monotonic()
        if count() > before and now > max(end, speaker.loud_at) + SETTLE_S:
            break
        if now > max(end, speaker.loud_at) + PATIENCE_S:
            break
    return since, time.monotonic()


def _delay(clip: Clip, mic: Tap, speaker: Tap, since: float, until: float) -> float | None:
    """End of the clip's speech to the agent's first audible sample, in seconds; None: no answer."""
    heard, heard_at = mic.between(since, until)
    if not len(heard):
        raise SystemExit("bench: the virtual microphone carried nothing; the machine was too busy for its devices")
    begin = max(0.0, clip.end_s - NEEDLE_S)
    needle = resample(clip.pcm, material.RATE, RATE)[round(begin * RATE) : round(clip.end_s * RATE)]
    ended = heard_at + (place(needle, heard) + len(needle)) / RATE
    # From the clip's first sound on: what is heard before its end cut it off.
    first = int(np.flatnonzero(np.abs(clip.pcm.astype(np.int32)) > AUDIBLE)[0]) / material.RATE
    said, said_at = speaker.between(ended - clip.end_s + first, until)
    loud = np.flatnonzero(np.abs(said.astype(np.int32)) > AUDIBLE)
    return said_at + int(loud[0]) / RATE - ended if len(loud) else None


# --- script -----------------------------------------------------------------------------------------------------------


def _script(found: Sequence[Clip], settings: Sequence[str], out: Path) -> Outcome:
    record, jsonl = out / "talk-script.wav", out / "talk-script.jsonl"
    jsonl.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wavs = _write(Path(folder), list(found))
        command = [sys.executable, "-m", "voice_agent.cli", "script", *settings, "--gap", str(SETTLE_S)]
        command += ["--record", str(record), "--jsonl", str(jsonl), *(str(wavs[c.name]) for c in found)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"bench: voice-agent script ended with {done.returncode}:\n{done.stdout[-1500:]}")
    result = Outcome()
    for measured in measure(record, found):
        result.add(-measured.overlap_s if measured.cut_off else measured.delay_s)
    rows = [json.loads(line) for line in jsonl.read_text().splitlines()]
    result.ledger_s = [r["voice_to_voice_ms"] / 1000 for r in rows if r["voice_to_voice_ms"] is not None]
    return result
