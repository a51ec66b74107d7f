"""Evidence for the turn policy, recorded once and replayed under any policy.

A clip is heard as the agent would hear it in real time, on a virtual time line: VAD windows every 32 ms, Whisper
passes one after the other (a pass started at t is ready at t plus the processor time it took), the judge after each new
text. Nothing is paced, so a noisy machine changes little.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

SR = 16_000
WINDOW = 512
PRE_ROLL_S = 0.3
PASS_EVERY_S = 0.1


@dataclass
class Evidence:
    """One utterance, lead-in silence included. ``ends``: where the user may be answered; holds are inside ``gaps``."""

    name: str
    kind: str  # "whole" or "hold"
    speech_end_s: float
    gap: tuple[float, float] | None  # the hold: begin and end of the silence, seconds
    windows: list[tuple[float, float]] = field(default_factory=list)  # end_s, probability
    passes: list[tuple[float, float, str]] = field(default_factory=list)  # covers_s, ready_s, text
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)  # text -> score, seconds it took
    acoustic: dict[str, float] = field(default_factory=dict)  # pause start (s, 3 decimals) -> probability at +0.2 s


def record(name, kind, pcm, speech_end_s, gap, engine, judge, eot, vad) -> Evidence:
    """Hear ``pcm`` (int16, 16 kHz). Lead 0.5 s and tail 2.5 s of silence are added here; times include the lead."""
    lead = np.zeros(SR // 2 // WINDOW * WINDOW, np.int16)
    offset = len(lead) / SR
    line = np.concatenate([lead, pcm, np.zeros(int(2.5 * SR), np.int16)])
    ev = Evidence(name, kind, speech_end_s + offset, None if gap is None else (gap[0] + offset, gap[1] + offset))
    vad.reset()
    for i in range(0, len(line) - WINDOW + 1, WINDOW):
        ev.windows.append(((i + WINDOW) / SR, float(vad.predict(np.ascontiguousarray(line[i : i + WINDOW])))))
    speech = [p > 0.5 for _, p in ev.windows]
    start = next((i for i in range(1, len(speech)) if speech[i] and speech[i - 1]), None)
    if start is None:
        return ev
    begin = max(0, int((start - 1) * WINDOW - PRE_ROLL_S * SR))
    x = line.astype(np.float32) / 32768
    now, last_covers, seen_end, last_text = ev.windows[start][0], -1.0, -1.0, ""
    while now < len(line) / SR:
        k = int(now * SR / WINDOW)  # windows complete at now
        ends = [ev.windows[i][0] for i in range(start - 1, min(k, len(speech))) if speech[i]]
        end = ends[-1] if ends else now
        paused = k > 0 and not speech[min(k, len(speech)) - 1]
        if paused and seen_end >= end:
            now += WINDOW / SR
            continue
        if not paused and now - last_covers < PASS_EVERY_S:
            now += 0.01
            continue
        covers = now
        piece = x[max(begin, int(covers * SR) - 27 * SR) : int(covers * SR)]
        t = time.process_time()
        h = engine.decode(piece)
        took = time.process_time() - t
        ev.passes.append((covers, covers + took, h.text))
        last_covers = seen_end = covers
        now = covers + took
        if h.text and h.text != last_text and h.text not in ev.scores:
            t = time.perf_counter()
            s = judge.score(h.text)
            ev.scores[h.text] = (s, min(0.03, time.perf_counter() - t))
        last_text = h.text
    for i in range(1, len(speech)):
        if speech[i - 1] and not speech[i]:
            end = ev.windows[i - 1][0]
            at = int((end + 0.2) * SR)
            if at < len(line) and not any(speech[i : i + 6]):
                ev.acoustic[f"{end:.3f}"] = float(eot.predict(np.ascontiguousarray(line[max(0, at - 19200) : at])))
    return ev


def save(path: Path, items: list[Evidence]) -> None:
    """Write as JSON."""
    path.write_text(json.dumps([asdict(i) for i in items]))


def load(path: Path) -> list[Evidence]:
    """Read what :func:`save` wrote."""
    out = []
    for d in json.loads(path.read_text()):
        d["gap"] = tuple(d["gap"]) if d["gap"] else None
        d["windows"] = [tuple(w) for w in d["windows"]]
        d["passes"] = [tuple(p) for p in d["passes"]]
        d["scores"] = {k: tuple(v) for k, v in d["scores"].items()}
        out.append(Evidence(**d))
    return out
