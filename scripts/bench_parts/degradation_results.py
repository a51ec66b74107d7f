"""The results of ``scripts/bench degradation``: sums by row, the file that keeps them, and the tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from degradation_cases import SCENARIOS
from tables import markdown, ms, percentile, write_lines


@dataclass(slots=True)
class RowResult:
    """The results of one row's turns. Times in seconds."""

    answers: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    turns: int = 0
    failed: int = 0
    gaps: int = 0
    cut_offs: int = 0
    steps: Counter[str] = field(default_factory=lambda: Counter[str]())
    counts: Counter[str] = field(default_factory=lambda: Counter[str]())

    def add(self, other: RowResult) -> None:
        self.answers += other.answers
        self.firsts += other.firsts
        self.turns += other.turns
        self.failed += other.failed
        self.gaps += other.gaps
        self.cut_offs += other.cut_offs
        self.steps += other.steps
        self.counts += other.counts

    @property
    def extra_share(self) -> float:
        needed = self.counts["tokens"] - self.counts["extra_tokens"]
        return self.counts["extra_tokens"] / needed if needed else 0.0

    def line(self) -> dict[str, Any]:
        """As JSON; :meth:`of` reads it back."""
        return {**asdict(self), "steps": dict(self.steps), "counts": dict(self.counts)}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> RowResult:
        known = {name: row[name] for name in ("answers", "firsts", "turns", "failed", "gaps", "cut_offs")}
        return cls(**known, steps=Counter(row["steps"]), counts=Counter(row["counts"]))

    def cells(self, name: str) -> list[object]:
        p50, p95, p99 = (percentile(self.answers, q) for q in (50, 95, 99))
        return [
            name, self.turns, ms(p50), ms(p95), ms(p99), ms(percentile(self.firsts, 99)), self.failed,
            f"{100 * self.counts['hedged'] / max(1, self.counts['answers']):.1f} %", f"{100 * self.extra_share:.1f} %",
            self.counts["trials"], self.steps["acknowledge"],
            self.steps["small_first"], self.gaps,
        ]  # fmt: skip


HEAD = [
    "steps", "turns", "P50", "P95", "P99", "P99 first sound", "failed", "requests hedged", "extra tokens",
    "trials", "acknowledged", "small first", "gaps",
]  # fmt: skip


class ResultsFile:
    """The measured results, one line a call (in real time: a turn); ``found``: the sums by row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.found: dict[str, RowResult] = {}
        if path.exists():
            for line in map(json.loads, path.read_text().splitlines()):
                self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        self.found.setdefault(line["row"], RowResult()).add(RowResult.of(line))

    def add(self, row: str, seed: int, found: RowResult) -> None:
        """Write the result at once, so that a stopped run keeps it."""
        self._take({"row": row, "seed": seed, **found.line()})
        write_lines(self.path, self.lines[-1:])

    def forget(self, rows: Iterable[str]) -> None:
        gone = set(rows)
        lines = [line for line in self.lines if line["row"] not in gone]
        if len(lines) == len(self.lines):
            return
        self.path.unlink()
        write_lines(self.path, lines)
        self.lines, self.found = [], {}
        for line in lines:
            self._take(line)

    def calls(self, row: str) -> dict[int, int]:
        """Seed -> turns of that call."""
        return {line["seed"]: line["turns"] for line in self.lines if line["row"] == row}

    def tables(self) -> str:
        """One for each scenario, rows in the order of the scenario, virtual before real."""
        out = []
        for scenario, (about, cases) in SCENARIOS.items():
            names = [f"{scenario}/{case.name}{how}" for how in ("", REAL) for case in cases]
            rows = [self.found[name].cells(name.split("/", 1)[1]) for name in names if name in self.found]
            if rows:
                out.append(f"{about}; ms from the end of speech to the first sound\n\n{markdown(HEAD, rows)}\n")
        return "\n".join([*out, f"Simulated: {SIMULATED}. Lines: {self.path}"])


REAL = ", real time"
SIMULATED = "user, STT, TTS, provider and time; in rows of real time: the provider, and the user (a Piper voice)"
