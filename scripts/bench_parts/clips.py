"""A folder of recordings -> the clips of a benchmark: whole utterances, and holds (lead-in, pause, rest).

For each utterance ``NAME.wav``, and if there is one ``NAME.json`` with ``end_s`` (true end of speech, seconds from the
clip's first sample) and ``text`` (reference). Without ``end_s`` the end is that of the last VAD window with speech.
``holds.json``: ``[{"lead": NAME, "pause_s": s, "rest": NAME, "text": ...}]``; their parts are not utterances.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from livekit.local_inference import VAD

from voice_agent.audio.files import read_audio
from voice_agent.audio.resampling import resample
from voice_agent.audio.samples import Int16
from voice_agent.errors import AudioError
from voice_agent.testing.harness.speech_bounds import WINDOW, speech_end_s

RATE = 16_000


@dataclass(frozen=True, slots=True)
class Clip:
    """16 kHz mono int16. ``gap``: begin and end of the hold's silence in seconds, None for a whole utterance."""

    name: str
    pcm: Int16
    end_s: float
    text: str | None = None
    gap: tuple[float, float] | None = None

    @property
    def kind(self) -> str:
        return "whole" if self.gap is None else "hold"


def read(path: Path) -> Int16:
    """An audio file as 16 kHz mono."""
    audio = read_audio(path)
    return resample(audio.samples, audio.sample_rate, RATE)


def utterances(folder: Path, n: int | None = None) -> list[Clip]:
    """The whole utterances of a folder by name, at most ``n``. Raises AudioError if there are none, and no holds."""
    parts = {h[side] for h in _holds(folder) for side in ("lead", "rest")}
    found = []
    for path in sorted(folder.glob("*.wav")):
        if path.stem in parts:
            continue
        note = path.with_suffix(".json")
        about: dict[str, Any] = json.loads(note.read_text()) if note.is_file() else {}
        pcm = read(path)
        end_s = float(about["end_s"]) if "end_s" in about else speech_end_s(pcm)
        if end_s <= 0:
            raise AudioError(f"{path}: no speech in it; take it out of the folder")
        found.append(Clip(path.stem, pcm, end_s, about.get("text")))
        if n is not None and len(found) == n:
            break
    if not found and not parts:
        raise AudioError(f"{folder}: no WAV files in it")
    return found


def holds(folder: Path, pauses_s: Sequence[float] | None = None, n: int | None = None) -> list[Clip]:
    """The holds of a folder, each with its own pause, or with each of ``pauses_s``; at most ``n`` lead-ins."""
    found = []
    for hold in _holds(folder)[:n]:
        lead, rest = (_trim(read(folder / f"{hold[side]}.wav")) for side in ("lead", "rest"))
        for pause_s in pauses_s if pauses_s is not None else (float(hold["pause_s"]),):
            pcm = np.concatenate([lead, np.zeros(round(pause_s * RATE), np.int16), rest])
            begin = len(lead) / RATE
            name = f"{hold['lead']}-{pause_s:g}"
            found.append(Clip(name, pcm, len(pcm) / RATE, hold.get("text"), (begin, begin + pause_s)))
    return found


def _holds(folder: Path) -> list[dict[str, Any]]:
    path = folder / "holds.json"
    listed: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return listed


def _trim(pcm: Int16) -> Int16:
    """``pcm`` without the silence around its speech, so that a hold's pause has the length given."""
    vad, margin = VAD(), np.zeros(4800, np.int16)
    padded = np.concatenate([margin, pcm, margin])
    starts = range(0, len(padded) - WINDOW + 1, WINDOW)
    speech = [i for i in starts if vad.predict(np.ascontiguousarray(padded[i : i + WINDOW])) > 0.5]
    return padded[max(0, speech[0] - WINDOW) : speech[-1] + WINDOW] if speech else pcm
