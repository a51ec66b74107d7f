"""Word errors and time to the final text: our STT, streamed, against faster-whisper's own transcribe.

Ours: the passes of a stream on a virtual timeline (evidence.py); its text is the first that covers all of the speech.
faster-whisper: the whole clip in its 30 s window, beam 5 (its default) and beam 1.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import clips as material
import evidence
import numpy as np
from clips import Clip
from faster_whisper import WhisperModel
from tables import markdown, percentile, write_lines

from voice_agent.config import models
from voice_agent.errors import AudioError
from voice_agent.stt.decoder import WhisperEngine
from voice_agent.stt.pcm import to_float


@dataclass(slots=True)
class Score:
    """One system over all clips. ``after_s``: end of speech to the final text."""

    name: str
    words: int = 0
    errors: int = 0
    after_s: list[float] = field(default_factory=list)
    rows: list[dict[str, object]] = field(default_factory=list)

    def add(self, clip: Clip, said: str, after_s: float) -> None:
        reference, heard = normalise(clip.text or ""), normalise(said)
        errors = distance(reference, heard)
        self.words += len(reference)
        self.errors += errors
        self.after_s.append(after_s)
        self.rows.append({"system": self.name, "clip": clip.name, "errors": errors, "heard": said, "text": clip.text})


def add(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="clips with texts: NAME.wav, NAME.json")
    verb.add_argument("--whisper", default="base,tiny.en", metavar="A,B", help="(default: %(default)s)")
    verb.add_argument("--n", type=int, metavar="N", help="only the first N clips")
    verb.add_argument("--pass-ms", type=float, metavar="MS", help="a pass of ours takes this, instead of its CPU time")
    verb.add_argument("--out", type=Path, default=Path("out/bench"), metavar="DIR", help="default: %(default)s")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    todo = [clip for clip in material.utterances(args.folder, args.n) if clip.text]
    if not todo:
        raise AudioError(f'{args.folder}: no clip has a text; write NAME.json with {{"text": ...}} beside NAME.wav')
    rows, lines = [], args.out / "wer.jsonl"
    lines.unlink(missing_ok=True)
    for whisper in args.whisper.split(","):
        scores = _whisper(whisper, todo, None if args.pass_ms is None else args.pass_ms / 1000)
        for score in scores:
            write_lines(lines, ({"whisper": whisper, **row} for row in score.rows))
            wer = 100 * score.errors / score.words
            more = wer - 100 * scores[1].errors / scores[1].words
            after = [f"{(percentile(score.after_s, q) or 0) * 1000:.0f}" for q in (50, 95)]
            cells = [whisper, score.name, len(todo), score.words, score.errors, f"{wer:.1f}", f"{more:+.1f}", *after]
            rows.append(cells)
    head = ["Whisper", "STT", "clips", "words", "errors", "WER %", "to beam 5", "final text P50 ms", "P95 ms"]
    print(markdown(head, rows))
    print(
        "\nFinal text: after the end of speech, in CPU time; ours on a virtual real-time line, transcribe from then on."
    )
    print(f"Numbers, case and punctuation are normalised. Every clip: {lines}")
    return 0


def _whisper(name: str, todo: Sequence[Clip], pass_s: float | None) -> list[Score]:
    path = models.whisper(name)
    engine = WhisperEngine(path)
    engine.decode(np.zeros(material.RATE, np.float32))
    plain = WhisperModel(str(path), device="cpu", compute_type="int8", cpu_threads=1)
    scores = [Score("ours, streamed"), Score("transcribe, beam 5"), Score("transcribe, beam 1")]
    for number, clip in enumerate(todo, 1):
        scores[0].add(clip, *_streamed(clip, engine, pass_s))
        for score, beam in ((scores[1], 5), (scores[2], 1)):
            began = time.process_time()
            segments, _ = plain.transcribe(to_float(clip.pcm), language="en", beam_size=beam)
            said = " ".join(segment.text.strip() for segment in segments)
            score.add(clip, said, time.process_time() - began)
        errors = ", ".join(str(s.rows[-1]["errors"]) for s in scores)
        print(f"bench: {name}, {number} of {len(todo)}, {clip.name}: errors {errors}", file=sys.stderr, flush=True)
    return scores


def _streamed(clip: Clip, engine: WhisperEngine, pass_s: float | None) -> tuple[str, float]:
    """(final text, seconds after the end of speech when it was there)."""
    found, _ = evidence.hear(clip, engine, pass_s)
    if not found.passes:
        return "", 0.0
    ended = found.pauses[-1][0] if found.pauses else found.speech_end_s
    _, ready, text = next((p for p in found.passes if p[0] >= ended), found.passes[-1])
    return text, max(0.0, ready - ended)


_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split(" ")
_UNITS += ["sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SAME = {"mr": "mister", "mrs": "missus", "dr": "doctor", "ok": "okay", "#": "pound"}


def spelled(n: int) -> str:
    """A whole number below a million in words, without "and"."""
    if n < 20:
        return _UNITS[n]
    if n < 100:
        return _TENS[n // 10 - 2] + (f" {_UNITS[n % 10]}" if n % 10 else "")
    size, name = (100, "hundred") if n < 1000 else (1000, "thousand")
    return f"{spelled(n // size)} {name}" + (f" {spelled(n % size)}" if n % size else "")


def normalise(text: str) -> list[str]:
    """Lower-case words; numbers as words ("press 1" is "press one"), no punctuation, hyphens open."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    text = re.sub(r"\d+", lambda digits: f" {_read(digits[0])} ", text)
    return [_SAME.get(word, word) for word in re.sub(r"[^\w' #]", " ", text).replace("'", "").split()]


def _read(digits: str) -> str:
    """Digits as a number, or one by one where a number would not be said."""
    if len(digits) > 6 or (digits.startswith("0") and len(digits) > 1):
        return " ".join(_UNITS[int(digit)] for digit in digits)
    return spelled(int(digits))


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Words to insert, delete or replace."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]
