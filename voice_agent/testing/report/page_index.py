"""What the page always shows, as one small object: runs, verdicts, a line a turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from ...budget.ledger import Mark, Stage
from ...budget.turn_verdict import verdict
from ...config import load as load_config
from ..verdict.baseline import public_config
from ..verdict.compare import Comparison, Moved
from ..verdict.work import TOTAL, by_item
from .collect import UNTRUSTED_MS, Entry, RunsReport, label
from .overall_verdict import overall
from .read_runs import KINDS, Loaded

SHOWN = 140  # characters of a text in the list; the whole of it is in the turn's own object
_STAGES = tuple(Stage)


def index(report: RunsReport, title: str) -> dict[str, Any]:
    """What the page always shows."""
    return {
        "title": title,
        "verdict": overall(report),
        "stages": [str(stage) for stage in _STAGES],
        "marks": [str(mark) for mark in Mark],
        "trust_limit_ms": UNTRUSTED_MS,
        "runs": [_run(report, number) for number in range(len(report.runs))],
        "pairs": [_pair(report, *pair) for pair in report.pairs],
        "turns": [_line(report, entry) for entry in report.entries],
        "notes": [*report.missing, *report.notes],
    }


def _run(report: RunsReport, number: int) -> dict[str, Any]:
    run = report.runs[number]
    result, facts = run.result, run.facts
    worst = report.worst_ms.get(number)
    return {
        "name": run.name,
        "label": label(report, number),
        "kind": KINDS[run.kind],
        "guards": result.guards if run.kind == "test" else "",
        "script": result.path.name,
        "target": result.target if run.kind == "test" else "",
        "seed": result.seed,
        "began": facts.get("began"),
        "repeat": facts.get("repeat"),
        "passed": result.passed,
        "judged": run.kind == "test",
        "interrupted": result.interrupted,
        "error": result.error,
        "turns": len(run.counted),
        "cut_offs": sum(turn.cut_off for turn in run.counted),
        "unanswered": result.unanswered,
        "failures": [
            {"step": None if step is None else step.index + 1, "line": None if step is None else step.line, **asdict(c)}
            for step, c in result.failures
        ],
        "whole": [asdict(check) for check in result.whole],
        "figures": {name: asdict(interval) for name, interval in result.intervals.items()},
        "self_check": {
            "worst_ms": worst,
            "turns": report.compared.get(number, 0),
            "trusted": worst is None or worst <= UNTRUSTED_MS,
            "recording": run.recording is not None,
        },
        "budget_ms": run.budget.total_ms,
        "simulated": run.simulated,
        "machine": facts.get("machine") or {},
        "versions": facts.get("versions") or {},
        "settings": _changed(facts.get("config")),
        "notes": result.notes,
        "comparison": None if result.comparison is None else _comparison(result.comparison),
        "wasted": sum(turn.speculation.tokens_wasted for turn in run.counted),
        "requests": sum(turn.speculation.requests for turn in run.counted),
    }


def _changed(config: Any) -> dict[str, Any]:
    """The settings that are not the defaults."""
    if not isinstance(config, Mapping):
        return {}
    usual = public_config(load_config(env={}))
    return {
        f"{section}.{key}": value
        for section, values in config.items()
        if isinstance(values, Mapping)
        for key, value in values.items()
        if value != usual.get(section, {}).get(key)
    }


def _moved(moved: Moved) -> dict[str, Any]:
    return {**asdict(moved), "slower": moved.slower, "faster": moved.faster}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "outcome": str(comparison.outcome),
        "text": str(comparison),
        "total": None if comparison.total is None else _moved(comparison.total),
        "stages": [_moved(moved) for moved in comparison.stages],
        "guilty": None if comparison.guilty is None else comparison.guilty.measure,
        "machine": None if comparison.machine is None else asdict(comparison.machine),
        "notes": list(comparison.notes),
    }


def _pair(report: RunsReport, before: Loaded, after: Loaded, comparison: Comparison) -> dict[str, Any]:
    old, new = (by_item(run.counted).get(TOTAL, {}) for run in (before, after))
    return {
        "before": next(i for i, run in enumerate(report.runs) if run is before),
        "after": next(i for i, run in enumerate(report.runs) if run is after),
        "names": list(report.names) if before.name == after.name else [before.name, after.name],
        **_comparison(comparison),
        "items": [
            {"item": item, "before_ms": _median(old.get(item)), "after_ms": _median(new.get(item)),
             "n": [len(old.get(item, [])), len(new.get(item, []))]}
            for item in dict.fromkeys([*old, *new])
        ],
    }  # fmt: skip


def _median(values: list[float] | None) -> float | None:
    return median(values) if values else None


def _line(report: RunsReport, entry: Entry) -> dict[str, Any]:
    turn, step = entry.turn, entry.step
    run = report.runs[entry.run]
    row: dict[str, Any] = {"run": entry.run, "ok": None if step is None else not step.failed}
    if entry.warmup:
        row["warm"] = True
    row["user"] = _short(turn.user_text if turn is not None and turn.user_text else step.name if step else "")
    if step is not None and step.round > 0:
        row["round"] = step.round
    if turn is None:
        row["kind"] = step.kind if step is not None else ""
        return row
    judged = verdict(turn, run.budget)
    spans = turn.spans_ms
    row |= {"id": turn.id, "agent": _short(turn.agent_text), "v2v": turn.voice_to_voice_ms}
    row["spans"] = [round(spans.get(stage, 0.0), 1) for stage in _STAGES] if spans else []
    row["counts"] = turn.counts_for_latency and not entry.warmup
    flags = {
        "cut off": turn.cut_off, "failed": turn.error is not None, "no answer": not turn.answered,
        "interrupted": turn.interrupted, "reopened": turn.reopened, "gaps": bool(turn.audio_gaps),
        "typed": turn.typed,
    }  # fmt: skip
    if set_ := [name for name, true in flags.items() if true]:
        row["flags"] = set_
    if judged.over:
        row["guilty"] = str(judged.guilty)
    return row


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
