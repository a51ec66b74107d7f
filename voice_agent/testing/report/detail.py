"""One turn in full, for the page's detail view. All times: milliseconds after the user's last sound."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any

from ...budget.ledger import Turn
from ...budget.turn_verdict import verdict
from .collect import Entry, RunsReport
from .read_runs import Loaded
from .turn_evidence import evidence_of
from .waveform import PEAK_S, RATE, Recording, mulaw, peaks, spoken


def detail(report: RunsReport, entry: Entry, recording: Recording | None, link: str | None) -> dict[str, Any]:
    """One turn in full. ``link``: the address of the recording beside the page, if it may be played from there."""
    turn, step = entry.turn, entry.step
    run = report.runs[entry.run]
    data: dict[str, Any] = {"checks": [], "difference_ms": entry.difference_ms}
    if step is not None:
        data |= {
            "name": step.name, "kind": step.kind, "line": step.line, "said": step.said, "round": step.round,
            "checks": [asdict(check) for check in step.checks],
            "calls": [{"name": name, "args": args} for name, args in step.calls],
            "stopped_ms": step.stopped_ms, "resumed": step.resumed,
        }  # fmt: skip
    zero_s = _zero_s(entry)
    if turn is not None:
        data |= _turn(turn, run)
    if entry.window is not None and zero_s is not None and recording is not None:
        user, agent = recording.read(entry.window, RATE)
        data["wave"] = {
            "begin_ms": round((entry.window.begin_s - zero_s) * 1000, 1),
            "step_ms": PEAK_S * 1000,
            "user": base64.b64encode(peaks(user, RATE)).decode(),
            "agent": base64.b64encode(peaks(agent, RATE)).decode(),
            "at_s": [round(entry.window.begin_s, 3), round(entry.window.end_s, 3)],
            "link": link,
        }
    return data


def _zero_s(entry: Entry) -> float | None:
    """The turn's time 0 on the recording."""
    turn, step = entry.turn, entry.step
    if turn is not None and turn.speech_ended_s is not None:
        return turn.speech_ended_s
    if step is not None and step.said_s is not None:
        return step.said_s[1]
    return None if turn is None else turn.first_audible_s


def sound(entry: Entry, recording: Recording) -> dict[str, Any] | None:
    """The turn's sound for the page: each side's parts that are not silent as (first sample, mu-law in base64)."""
    zero_s = _zero_s(entry)
    if entry.window is None or zero_s is None:
        return None
    sides = recording.read(entry.window, RATE)
    data: dict[str, Any] = {"rate": RATE, "samples": max(len(side) for side in sides)}
    for name, pcm in zip(("user", "agent"), sides, strict=True):
        data[name] = [[at, base64.b64encode(mulaw(piece)).decode()] for at, piece in spoken(pcm)]
    return data


def _turn(turn: Turn, run: Loaded) -> dict[str, Any]:
    judged = verdict(turn, run.budget)
    return {
        "id": turn.id, "item": turn.item, "user_text": turn.user_text, "agent_text": turn.agent_text,
        "v2v": turn.voice_to_voice_ms, "overlap_ms": turn.overlap_ms, "after_enter_ms": turn.after_enter_ms,
        "marks": {str(mark): None if at is None else round(at * 1000, 1) for mark, at in turn.marks.items()},
        "path": [
            [str(s.stage), str(s.start_mark), str(s.end_mark), s.start_ns / 1e6, s.end_ns / 1e6, s.hidden_ns / 1e6]
            for s in turn.path
        ],
        "spans": {str(stage): round(ms, 1) for stage, ms in turn.spans_ms.items()},
        "hidden": {str(stage): round(ms, 1) for stage, ms in turn.hidden_ms.items()},
        "budget": {"total": run.budget.total_ms, **{str(s): ms for s, ms in run.budget.shares_ms.items()}},
        "over_by_ms": judged.over_by_ms if judged.over else None,
        "guilty": None if judged.guilty is None else [str(judged.guilty), judged.guilty_by_ms],
        "simulated": list(turn.simulated),
        "error": None if turn.error is None else str(turn.error),
        "speculation": {**asdict(turn.speculation), "lead_ms": turn.lead_ms},
        "tokens": [turn.usage.prompt_tokens, turn.usage.completion_tokens],
        "provider_ms": [turn.usage.queue_ms, turn.usage.prompt_ms, turn.usage.completion_ms],
        "models": [m for m in asdict(turn.models).values() if m],
        "gaps": [turn.audio_gaps, turn.audio_gaps_ms],
        "acknowledged_ms": turn.acknowledged_ms,
        "degradation": dict(turn.degradation),
        "evidence": evidence_of(turn),
    }  # fmt: skip
