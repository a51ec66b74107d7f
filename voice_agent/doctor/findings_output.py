"""Prints findings: lines for people, JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .finding import DoctorCheck, Finding, Status

SCHEMA = 1
_SIGNS = {
    Status.OK: ("ok", "green"),
    Status.WARNING: ("warn", "yellow"),
    Status.FAILED: ("FAIL", "bold red"),
    Status.SKIPPED: ("-", "dim"),
}


class FindingsScreen:
    """Prints each finding as it comes, and the check that runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._group = ""
        self._waiting = console.status("") if console.is_terminal else None

    def __enter__(self) -> FindingsScreen:
        if self._waiting is not None:
            self._waiting.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._waiting is not None:
            self._waiting.stop()

    def check(self, check: DoctorCheck) -> None:
        """Show the name of the running check."""
        if self._waiting is not None:
            self._waiting.update(f"{check.group}: {check.name}")

    def finding(self, finding: Finding) -> None:
        """Print one finding, and its advice below it."""
        if finding.group != self._group:
            self._group = finding.group
            self._console.print(Text(finding.group, style="bold"))
        sign, style = _SIGNS[finding.status]
        row = Table.grid(padding=(0, 1))
        row.add_column(width=4)
        row.add_column(width=18, overflow="fold")
        row.add_column(overflow="fold")
        text = Text(finding.text, style="dim" if finding.status is Status.SKIPPED else "")
        row.add_row(Text(sign, style=style), finding.name, text)
        if finding.advice and finding.status is not Status.OK:
            row.add_row(
                "", "", Text(f"-> {finding.advice}", style="dim" if finding.status is Status.SKIPPED else style)
            )
        self._console.print(Padding(row, (0, 0, 0, 1)))

    def summary(self, findings: Sequence[Finding]) -> None:
        """Print the last line."""
        count = Counter(finding.status for finding in findings)
        failed, warnings = count[Status.FAILED], count[Status.WARNING]
        if failed:
            style, text = "bold red", f"{failed} failed, {warnings} warnings: see what the arrows say"
        elif warnings:
            style, text = "yellow", f"it works, with {warnings} warnings"
        else:
            style, text = "green", "all is well"
        self._console.print(Text(text, style=style))


def as_json(findings: Sequence[Finding]) -> str:
    """One object: ``schema``, ``ok`` (no check failed), ``findings``."""
    rows = [
        {
            "group": one.group,
            "name": one.name,
            "status": one.status.value,
            "text": one.text,
            "advice": one.advice,
            "facts": dict(one.facts),
            "took_s": one.took_s,
        }
        for one in findings
    ]
    return json.dumps({"schema": SCHEMA, "ok": passed(findings), "findings": rows}, indent=2, ensure_ascii=False)


def passed(findings: Sequence[Finding]) -> bool:
    """Whether no check failed."""
    return all(finding.status is not Status.FAILED for finding in findings)
