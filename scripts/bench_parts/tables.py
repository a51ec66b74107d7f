"""Markdown tables and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from voice_agent.budget import stats


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; None becomes a dash."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join("-" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def percentile(values: Sequence[float], q: float) -> float | None:
    """Exact, linear between neighbours; None without values."""
    return stats.percentile(values, q) if len(values) else None


def ms(seconds: float | None) -> str | None:
    """Whole milliseconds."""
    return None if seconds is None else f"{seconds * 1000:,.0f}"


def spread(values_s: Sequence[float]) -> tuple[str | None, str | None, str | None]:
    """P50, P95 and maximum in milliseconds."""
    return ms(percentile(values_s, 50)), ms(percentile(values_s, 95)), ms(max(values_s, default=None))  # type: ignore[type-var]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
