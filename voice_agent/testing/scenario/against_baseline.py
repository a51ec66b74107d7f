"""Make a baseline of a run, and hold a run to a baseline (verdict/baseline.py, verdict/compare.py)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..verdict.baseline import Baseline, this_machine, versions
from ..verdict.compare import TOLERANCE_MS, TOLERANCE_SHARE, Comparison, compare
from ..verdict.work import by_item
from .results import Result


def baseline_of(result: Result, settings: dict[str, Any]) -> Baseline:
    """What a run measured, as the next one's baseline."""
    machine = this_machine()
    return Baseline(
        scenario=result.name,
        samples=by_item(result.turns),
        calibration_ms=list(result.calibration_ms),
        turns=len(result.turns),
        cut_offs=sum(turn.cut_off for turn in result.turns),
        unanswered=result.unanswered,
        machine={**dataclasses.asdict(machine), "fingerprint": machine.fingerprint},
        versions=versions(),
        target=result.target,
        seed=result.seed,
        settings=settings,
    )


def against(
    result: Result,
    baseline: Baseline,
    where: Path,
    *,
    tolerance_ms: float = TOLERANCE_MS,
    tolerance_share: float = TOLERANCE_SHARE,
) -> Comparison:
    """The verdict on ``result``. Another machine, and other versions, are named in its notes."""
    comparison = compare(
        baseline.samples,
        by_item(result.turns),
        calibration=(baseline.calibration_ms, result.calibration_ms),
        cut_offs=(baseline.cut_offs, sum(turn.cut_off for turn in result.turns)),
        tolerance_ms=tolerance_ms,
        tolerance_share=tolerance_share,
        seed=result.seed,
    )
    notes = list(comparison.notes)
    if baseline.machine.get("fingerprint") != this_machine().fingerprint:
        notes.append(
            f"{where.name} is of another machine ({baseline.machine.get('cpu')}): make one here for a fair pair"
        )
    now = versions()
    changed = [f"{name} {old} -> {now[name]}" for name, old in baseline.versions.items() if now.get(name, old) != old]
    if changed:
        notes.append("other versions: " + ", ".join(changed))
    if baseline.target != result.target:
        notes.append(f"the baseline was measured through {baseline.target}, this run through {result.target}")
    return dataclasses.replace(comparison, notes=tuple(notes))
