"""One verdict on everything in a report: trusted, slower, failed, passed, or only measured."""

from __future__ import annotations

from ..verdict.compare import Comparison, VerdictOutcome
from .collect import UNTRUSTED_MS, RunsReport


def overall(report: RunsReport) -> dict[str, str]:
    """The verdict: ``tone`` (good, bad, unsure), ``word``, ``text``."""
    tests = [run for run in report.runs if run.kind == "test"]
    slower = [c for _, _, c in report.pairs if c.outcome is VerdictOutcome.REGRESSION]
    failed = [run.name for run in tests if not run.result.passed]
    turns = sum(len(run.counted) for run in report.runs)
    said = f"{turns} turn{'' if turns == 1 else 's'} in {_many(len(report.runs), 'run')}"
    if not report.trusted:
        off = [f"{report.runs[n].name} ({ms:.0f} ms)" for n, ms in report.worst_ms.items() if ms > UNTRUSTED_MS]
        text = (
            f"the ledger and the recording differ by more than {UNTRUSTED_MS:.0f} ms in {', '.join(off[:6])}:"
            " these figures prove nothing"
        )
        text += f"; failed: {', '.join(failed[:6])}" if failed else ""
        return {"tone": "bad", "word": "Not to be trusted", "text": text}
    if slower:
        return {"tone": "bad", "word": "Regression", "text": "; ".join(_reasons(c) for c in slower)}
    if report.missing:
        text = f"{_many(len(report.missing), 'run')} never began (see the notes); {said}"
        text += f"; failed: {', '.join(failed[:6])}" if failed else ""
        return {"tone": "bad", "word": "Failed", "text": text}
    if failed:
        text = f"{len(tests) - len(failed)} of {_many(len(tests), 'script')} passed; not: {', '.join(failed[:6])}"
        return {"tone": "bad", "word": "Failed", "text": text}
    if report.pairs:
        outcomes = {c.outcome for _, _, c in report.pairs}
        if outcomes != {VerdictOutcome.PASSED}:
            word = str(next(iter(sorted(outcomes - {VerdictOutcome.PASSED}))))
            return {
                "tone": "unsure", "word": word[0].upper() + word[1:],
                "text": "; ".join(_reasons(c) for _, _, c in report.pairs if c.outcome is not VerdictOutcome.PASSED),
            }  # fmt: skip
        return {"tone": "good", "word": "Passed", "text": f"not slower than before; {said}"}
    if tests and len(tests) == len(report.runs):
        return {"tone": "good", "word": "Passed", "text": f"all expectations held; {said}"}
    bad = sum(not step.answered or step.failed for run in report.runs for step in run.result.counted)
    if bad:
        return {"tone": "bad", "word": "Measured", "text": f"{said}; {bad} unanswered, failed or cut off"}
    return {"tone": "good", "word": "Measured", "text": f"{said}, all answered"}


def _reasons(comparison: Comparison) -> str:
    """A comparison's text without its outcome."""
    return str(comparison).partition("; ")[2]


def _many(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
