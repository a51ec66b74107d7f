"""Results for other programs: JUnit XML and one JSON file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ...errors import UsageError
from ..verdict.compare import VerdictOutcome
from .results import Result, comparison_row

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(results: Sequence[Result]) -> str:
    """One suite a script; one case a step, one for the whole, one for the comparison (inconclusive: skipped)."""
    root = ElementTree.Element("testsuites", name="voice-agent test")
    for result in results:
        suite = ElementTree.SubElement(root, "testsuite", name=result.name, file=str(result.path))
        failures = errors = skipped = tests = 0
        for step in result.counted:
            name = f"{step.index + 1} {step.name}" + (f" [{step.round + 1}]" if step.round else "")
            seconds = None if step.said_s is None else step.said_s[1] - step.said_s[0]
            case = _case(suite, result, name, seconds)
            tests += 1
            bad = [check for check in step.checks if check.ok is False]
            open_ = [check for check in step.checks if check.ok is None]
            if bad:
                failures += 1
                lines = [f"{result.path}:{step.line}", *(f"{check.what}: {check.said}" for check in bad)]
                lines.append(f"recording: {result.folder}")
                _say(case, "failure", f"{bad[0].what}: {bad[0].said}", "\n".join(lines))
            elif open_ and len(open_) == len(step.checks):
                skipped += 1
                _say(case, "skipped", f"{open_[0].what}: {open_[0].said}", "")
        for check in result.whole:
            case = _case(suite, result, f"whole: {check.what}", None)
            tests += 1
            if check.ok is False:
                failures += 1
                _say(case, "failure", f"{check.what}: {check.said}", str(result.folder))
        if result.comparison is not None:
            case = _case(suite, result, "against the baseline", None)
            tests += 1
            text = str(result.comparison)
            if result.comparison.outcome is VerdictOutcome.REGRESSION:
                failures += 1
                _say(case, "failure", text, str(result.folder))
            elif result.comparison.outcome is not VerdictOutcome.PASSED:
                skipped += 1
                _say(case, "skipped", text, "")
        if result.error is not None or result.interrupted:
            case = _case(suite, result, "run", None)
            tests += 1
            errors += 1
            _say(case, "error", result.error or "interrupted", str(result.folder))
        counts = {"tests": tests, "failures": failures, "errors": errors, "skipped": skipped}
        for name, count in counts.items():
            suite.set(name, str(count))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, result: Result, name: str, seconds: float | None) -> ElementTree.Element:
    case = ElementTree.SubElement(suite, "testcase", classname=result.name, name=_clean(name))
    if seconds is not None:
        case.set("time", f"{seconds:.3f}")
    return case


def _say(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    entry = ElementTree.SubElement(case, kind, message=_clean(message))
    entry.text = _clean(text)


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return _NOT_XML.sub("?", text)


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """What ``--json`` writes: one entry a script."""
    return {
        "schema": 1,
        "passed": all(result.passed for result in results),
        "scripts": [
            {
                "name": result.name,
                "script": str(result.path),
                "run": str(result.folder),
                "passed": result.passed,
                "interrupted": result.interrupted,
                "error": result.error,
                "turns": len(result.turns),
                "cut_offs": sum(turn.cut_off for turn in result.turns),
                "unanswered": result.unanswered,
                "p50_ms": _figure(result, "p50_ms"),
                "p95_ms": _figure(result, "p95_ms"),
                "self_check_ms": result.worst_difference_ms,
                "failures": [
                    {"line": None if step is None else step.line, "what": check.what, "said": check.said}
                    for step, check in result.failures
                ],
                "verdict": None if result.comparison is None else comparison_row(result.comparison),
            }
            for result in results
        ],
    }


def _figure(result: Result, name: str) -> dict[str, float | None] | None:
    found = result.intervals.get(name)
    return None if found is None else {"value": found.estimate, "low": found.low, "high": found.high, "n": found.n}


def write_text(path: Path, text: str) -> None:
    """Raises UsageError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name a file in a folder of yours") from None
