"""The turn policy's evidence on the turn's own time: milliseconds after the user's last sound (docs/replay.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ...audio.speech_end import SpeechEnd
from ...budget.ledger import Turn
from ...turn.turn_text import words_of

FACT_LENGTH = 400  # characters of JSON: longer evidence is in the rows only


def record_of(turn: Turn) -> Mapping[str, Any] | None:
    record = turn.evidence.get("recorded")
    return record if isinstance(record, Mapping) and record.get("windows") else None


def origin_s(turn: Turn, record: Mapping[str, Any]) -> float:
    """The user's last sound on the stream's timeline: the end of speech that the row names, else the last one."""
    speech_end = SpeechEnd()
    ends: list[float] = []
    speech = False
    for end, p in record["windows"]:
        speech_end.window(float(end), float(p))
        if speech and p <= 0.5:
            ends.append(speech_end.refined())
        speech = p > 0.5
    if speech or not ends:
        ends.append(float(record["windows"][-1][0]))
    near = turn.speech_ended_s
    if near is not None and (best := min(ends, key=lambda end: abs(end - near))) and abs(best - near) < 0.1:
        return near  # a scripted call: the stream and the recording begin together
    return ends[-1]


def evidence_of(turn: Turn) -> dict[str, Any]:
    """What the policy was given over time, and the facts of its decision."""
    facts = {
        key: round(value, 3) if isinstance(value, float) else value
        for key, value in turn.evidence.items()
        if key not in ("recorded", "input") and value is not None and len(json.dumps(value)) <= FACT_LENGTH
    }
    record = record_of(turn)
    if record is None:
        return {"facts": facts}
    try:
        zero = origin_s(turn, record)
        windows = [(float(end), float(p)) for end, p in record["windows"]]
        scores = {str(words): (float(score), float(took)) for words, score, took in record["scores"]}
        passes = []
        for covers, ready, text in record["passes"]:
            score = scores.get(words_of(str(text)))
            at = (float(ready) - zero) * 1000
            row = [round((float(covers) - zero) * 1000, 1), round(at, 1), str(text)]
            passes.append([*row, None if score is None or not math.isfinite(score[0]) else round(score[0], 2)])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return {"facts": facts, "unreadable": f"{type(error).__name__}"}
    return {
        "facts": facts,
        "vad": [[round((end - zero) * 1000), round(p * 100)] for end, p in windows],
        "passes": passes,
        "reopened": bool(record.get("reopened")),
    }
