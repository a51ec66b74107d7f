"""The comment for a pull request: the verdict, a table of the runs, and folded details below it."""

from __future__ import annotations

import re

from ...budget.ledger import Stage
from ...budget.stats import SessionStats
from ...budget.turn_verdict import verdict
from ...config.redaction import redact_values
from .collect import UNTRUSTED_MS, RunsReport, label
from .overall_verdict import overall
from .read_runs import Loaded

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")
LONGEST = 60_000  # GitHub takes 65,536 characters
WORST, FAILURES = 5, 20


def markdown(report: RunsReport) -> str:
    """GitHub's Markdown, at most :data:`LONGEST` characters; it says how many details were left out."""
    said = overall(report)
    lines = [f"### voice-agent: {_plain(said['word'])}", "", _plain(said["text"]), ""]
    lines += ["| script | result | P50 ms | P95 ms | n | cut off | self-check ms |", "|---|---|---|---|---|---|---|"]
    for number, run in enumerate(report.runs):
        lines.append("| " + " | ".join(_cells(report, number, run)) + " |")
    lines += [
        "",
        "Voice to voice, 95 % intervals in brackets (P50 has one from 6 turns on, P95 from 59). *Self-check*: the"
        " largest difference between the ledger and the recording; above"
        f" {UNTRUSTED_MS:.0f} ms the figures of that run are not to be trusted.",
    ]
    simulated = sorted({part for run in report.runs for part in run.simulated})
    if simulated:
        lines += ["", f"**Simulated:** {_plain(', '.join(simulated))}."]
    for before, after, comparison in report.pairs:
        if before.name == after.name:
            place = f"{before.name}, {' and '.join(report.names)}"
        else:
            place = f"{before.name} to {after.name}"
        lines += ["", f"**{_plain(place)}:** {_plain(str(comparison))}"]
    for number, run in enumerate(report.runs):
        if run.result.comparison is not None:
            against = f"{label(report, number)}, against the baseline"
            lines += ["", f"**{_plain(against)}:** {_plain(str(run.result.comparison))}"]
    for problem in report.missing:
        lines += ["", f"**Never began:** {_plain(problem)}"]
    text = "\n".join(lines) + "\n"
    left_out = 0
    for number, run in enumerate(report.runs):
        part = _details(report, number, run)
        if len(text) + len(part) > LONGEST:
            left_out += 1
        else:
            text += part
    if left_out:
        text += f"\nDetails of {left_out} more are in the HTML report.\n"
    return text


def _cells(report: RunsReport, number: int, run: Loaded) -> list[str]:
    result = run.result
    mark = ("passed" if result.passed else "**failed**") if run.kind == "test" else "measured"
    cells = [_plain(label(report, number)), mark]
    for name in ("p50_ms", "p95_ms"):
        f = result.intervals.get(name)
        cells.append("-" if f is None else f.short)
    cut = sum(turn.cut_off for turn in run.counted)
    worst = report.worst_ms.get(number)
    checked = "-" if worst is None else f"{worst:.1f}" if worst <= UNTRUSTED_MS else f"**{worst:.0f}, not trusted**"
    return [*cells, str(len(run.latencies_ms)), f"{cut} of {len(run.counted)}", checked]


def _details(report: RunsReport, number: int, run: Loaded) -> str:
    result, stats = run.result, SessionStats()
    judged = [(turn, verdict(turn, run.budget)) for turn in run.counted]
    for turn, one in judged:
        stats.add(turn, one)
    summary = stats.summary()
    head = _plain(label(report, number)) + (f": {_plain(result.guards)}" if run.kind == "test" else "")
    lines = ["", f"<details><summary>{head}</summary>", ""]
    if result.error:
        lines += [f"**{_plain(result.error)}**", ""]
    for step, check in result.failures[:FAILURES]:
        place = "whole" if step is None else f"step {step.index + 1} (line {step.line})"
        lines.append(f"- {place}: {_plain(check.what)}: {_plain(check.said)}")
    if len(result.failures) > FAILURES:
        lines.append(f"- and {len(result.failures) - FAILURES} more")
    if summary.stages:
        lines += ["", "| stage | P50 ms | P95 ms | max ms |", "|---|---|---|---|"]
        for stage in Stage:
            if spread := summary.stages.get(stage):
                lines.append(f"| {stage} | {spread.p50_ms:.0f} | {spread.p95_ms:.0f} | {spread.max_ms:.0f} |")
    lines += ["", _plain(summary.details() if summary.turns else "no turns")]
    late = sorted((t for t, v in judged if v.over), key=lambda t: -(t.voice_to_voice_ms or 0.0))[:WORST]
    if late:
        lines += ["", f"Over the budget of {run.budget.total_ms:.0f} ms, the worst first:", ""]
        for turn in late:
            guilty = verdict(turn, run.budget)
            what = f"{turn.voice_to_voice_ms:.0f} ms, {guilty.guilty} +{guilty.guilty_by_ms:.0f}"
            lines.append(f"- turn {_plain(str(turn.id))}: {what}: {_plain(turn.user_text)[:160]}")
    return "\n".join([*lines, "", "</details>", ""])


def _plain(text: str) -> str:
    """``text`` on one line, shown literally: no markup, no mention of a person, no link to an issue."""
    one = " ".join(str(redact_values(text)).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    one = _SPECIAL.sub(r"\\\1", one)
    # GitHub looks for mentions and links after undoing escapes: only a character in between prevents them.
    return re.sub(r"(?<=://)|(?<=www)|(?<=@)|(?<=\\#)", "\u2060", one)
