"""Barge-in: how soon the agent falls silent when the user starts, and what does not silence it for good.

Recorded utterances are spoken 1.2 s into long replies; the stop is read off the recording: from the onset of the user's
speech (left track) to the agent's last audible sample (right track). Then sounds that are no interruption, and the
agent's own echo. The language model is a pacing double; the noises are made by numpy and the back-channels by Piper.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clips import RATE, Clip, utterances
from tables import markdown, ms, spread, write_lines

from voice_agent.audio.resampling import resample
from voice_agent.audio.samples import Int16
from voice_agent.audio.timeline import AUDIBLE, RECORD_RATE, USER_RATE
from voice_agent.budget.ledger import Mark
from voice_agent.config import Config, load, models
from voice_agent.testing.harness.call_harness import CallHarness, call_harness
from voice_agent.testing.harness.script_input import SimulatedEcho
from voice_agent.testing.harness.sounds import SOUNDS
from voice_agent.testing.harness.speech_bounds import speech_onset_s
from voice_agent.tts import Delivery, Voice

INTO_S = 1.2
BEFORE_S = 0.06  # the agent speaks if it was audible so shortly before the onset
SETTLED_S = 2.5  # so long after a false interruption it is clear what became of the reply
PATIENCE_S = 12.0
BACKCHANNELS = {"mhm": "[[mhʌm]].", "uh-huh": "Uh-huh.", "okay": "Okay.", "yeah": "Yeah.", "right": "Right."}
SPEC = "sim:ttft=170ms,tps=2314,reply=long"
SPEECH = Path(__file__).parents[2] / "assets" / "speech"


@dataclass(frozen=True, slots=True)
class Spoken:
    """One interruption. ``stop_s``: onset to the agent's last audible sample; None if the agent was silent at the onset
    (between two words: nothing was to be stopped). ``words``: share of them in the turn."""

    name: str
    stop_s: float | None
    turn: str | None
    words: float | None
    kept: str


@dataclass(frozen=True, slots=True)
class Noise:
    """One sound that is no interruption. ``paused_s``: how long the reply stood still (0: not at all)."""

    name: str
    killed: bool
    resumed: bool
    paused_s: float
    pauses: int


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, nargs="?", default=SPEECH, metavar="FOLDER", help="(default: assets/speech)")
    verb.add_argument("--n", type=int, metavar="N", help="only the first N utterances")
    verb.add_argument("--each", type=int, default=3, metavar="N", help="each noise N times (default: %(default)s)")
    verb.add_argument("--echoes", type=int, default=5, metavar="N", help="replies with echo (default: %(default)s)")
    verb.add_argument("--into", type=float, default=INTO_S, metavar="S", help="into the reply (default: %(default)s s)")
    verb.add_argument("--whisper", default="tiny.en", help="(default: %(default)s)")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting")
    verb.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    flags = {"llm.spec": SPEC, "stt.model": args.whisper} | dict(pair.partition("=")[::2] for pair in args.set)
    config = load(flags=flags)
    found = utterances(args.folder, args.n)
    return asyncio.run(_run(args, config, found))


async def _run(args: argparse.Namespace, config: Config, found: Sequence[Clip]) -> int:
    questions = [c for c in utterances(SPEECH) if c.name.startswith("ask")]
    async with call_harness(config, record=args.out / "barge-in.wav") as s:
        spoken = [await _speak(s, questions[i % len(questions)], clip, args.into) for i, clip in enumerate(found)]
        noises: list[Noise] = []
        for name, pcm in _sounds(args.each, config):
            noises.append(await _disturb(s, questions[len(noises) % len(questions)], name, pcm, args.into))
    if args.echoes:
        async with call_harness(config, record=args.out / "barge-in-echo.wav", echo=SimulatedEcho(0.08, -6.0)) as s:
            for i in range(args.echoes):
                noises.append(await _disturb(s, questions[i % len(questions)], "echo", None, args.into))
    write_lines(args.out / "barge-in.jsonl", map(dataclasses.asdict, spoken))
    write_lines(args.out / "barge-in.jsonl", map(dataclasses.asdict, noises))
    _print(args, spoken, noises)
    return 0


def _sounds(each: int, config: Config) -> list[tuple[str, Int16]]:
    out = [(name, make(seed)) for name, make in SOUNDS.items() for seed in range(each)]
    voice = Voice.load(*models.piper(config.tts.voice))
    for name, text in BACKCHANNELS.items():
        for scale in np.linspace(0.85, 1.3, each):  # quicker and slower: no two are the same
            pieces = [p.samples for p in voice.speak(text, Delivery(length_scale=float(scale)))]
            out.append((name, resample(np.concatenate(pieces), voice.sample_rate, RATE)))
    return out


async def _ask(s: CallHarness, question: Clip, into_s: float) -> float | None:
    s.turns()
    s.input.say(question.pcm)
    return await s.heard_for(into_s, patience_s=PATIENCE_S)


async def _end(s: CallHarness) -> None:
    """Stop whatever the agent still says, so that the next trial starts from silence."""
    s.session.interrupt()
    await s.quiet(for_s=0.5)


async def _speak(s: CallHarness, question: Clip, clip: Clip, into_s: float) -> Spoken:
    if await _ask(s, question, into_s) is None:
        print(f"{clip.name}: no reply to speak into", file=sys.stderr)
        return Spoken(clip.name, None, None, None, "")
    start_s = s.input.say(clip.pcm, at_s=s.now_s()) / USER_RATE
    onset_s, end_s = start_s + speech_onset_s(clip.pcm), start_s + clip.end_s
    deadline = end_s + PATIENCE_S
    while s.now_s() < deadline:  # until the answer to it is heard
        since = s.output.audible_since
        if since is not None and s.timeline.seconds(since) > end_s and s.now_s() > s.timeline.seconds(since) + 0.3:
            break
        await asyncio.sleep(0.02)
    agent = s.timeline.agent.read(round(onset_s * RECORD_RATE), round(end_s * RECORD_RATE))
    loud = np.flatnonzero(np.abs(agent.astype(np.int32)) > AUDIBLE)
    await _end(s)
    turns = s.turns()
    mine = [t for t in turns if (t.marks[Mark.SPEECH_ENDED] or 0) > s.timeline.started_at + onset_s]
    text = " ".join(t.user_text for t in mine if t.user_text) or None
    kept = turns[0].agent_text if turns else ""
    before = s.timeline.agent.read(round((onset_s - BEFORE_S) * RECORD_RATE), round(onset_s * RECORD_RATE))
    spoke = bool((np.abs(before.astype(np.int32)) > AUDIBLE).any())
    stop_s = ((int(loud[-1]) + 1) / RECORD_RATE if len(loud) else 0.0) if spoke else None
    return Spoken(clip.name, stop_s, text, _share(clip.text, text), kept)


def _share(truth: str | None, text: str | None) -> float | None:
    if truth is None or text is None:
        return None
    words, heard = truth.casefold().split(), text.casefold()
    return sum(word.strip(".,?!;:'\"") in heard for word in words) / len(words)


async def _disturb(s: CallHarness, question: Clip, name: str, pcm: Int16 | None, into_s: float) -> Noise:
    """``pcm`` None: nothing is said, the echo is enough."""
    s.output.pauses.clear()
    if await _ask(s, question, into_s) is None:
        return Noise(name, True, False, 0.0, 0)  # the reply did not even come so far
    began = s.output.audible_since
    length_s = 5.0
    if pcm is not None:
        s.input.say(pcm, at_s=s.now_s())
        length_s = len(pcm) / RATE
    await asyncio.sleep(length_s + SETTLED_S)
    killed = s.output.audible_since != began and (not s.output.pauses or not s.output.playing)
    killed = killed or not s.output.playing
    resumed = s.output.playing and not s.output.paused
    pauses = list(s.output.pauses)
    await _end(s)
    return Noise(name, killed, resumed, sum(b - a for a, b in pauses), len(pauses))


def _print(args: argparse.Namespace, spoken: Sequence[Spoken], noises: Sequence[Noise]) -> None:
    stops = [row.stop_s for row in spoken if row.stop_s is not None]
    print(f"\nInterruptions: {len(spoken)} utterances, {args.into:g} s into the reply; Whisper {args.whisper}\n")
    heard = [row.words for row in spoken if row.words is not None]
    whole = f"{np.mean(heard):.0%}" if heard else None
    turns = f"{sum(row.turn is not None for row in spoken)} of {len(spoken)}"
    head = ["onset to silence P50", "P95", "max (ms)", "n", "became a turn", "words found in it"]
    print(markdown(head, [[*spread(stops), len(stops), turns, whole]]))
    print(f"\nIn {len(spoken) - len(stops)} the agent was between two words at the onset: not counted in the times.")
    print("\nNo interruptions (synthetic): what became of the reply\n")
    rows = []
    for name in dict.fromkeys(row.name for row in noises):
        mine = [row for row in noises if row.name == name]
        lengths = [row.paused_s for row in mine if row.pauses]
        rows.append([
            name, len(mine), sum(row.killed for row in mine), sum(row.resumed for row in mine),
            sum(bool(row.pauses) for row in mine), ms(float(np.median(lengths))) if lengths else None,
            ms(max(lengths)) if lengths else None,
        ])  # fmt: skip
    print(markdown(["sound", "n", "killed", "went on", "paused", "pause P50", "pause max (ms)"], rows))
    print(f"\nSimulated: the language model. Recordings and rows: {args.out}/barge-in*")
