"""The measurement of providers as Markdown, JSON or HTML. Every row of a simulated provider says so."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...budget.intervals import percentile_interval
from ...budget.ledger import Turn
from .measure import RequestTiming
from .predict import Advice, Predicted, advise, complete_stage_times, predict, speeds


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """All measurements. ``labels``: endpoint and model of each provider; ``simulated``: names of simulated ones."""

    timings: tuple[RequestTiming, ...]
    labels: Mapping[str, str]
    simulated: frozenset[str]
    turns: tuple[Turn, ...] = ()
    seed: int = 1

    def rows(self) -> list[dict[str, Any]]:
        """One row for each provider, context length and concurrency; P50 and P95 with 95 % bootstrap intervals."""
        kinds = dict.fromkeys((s.provider, s.context_tokens, s.concurrency) for s in self.timings)
        return [self._row(*kind) for kind in sorted(kinds)]

    def _row(self, provider: str, context_tokens: int, concurrency: int) -> dict[str, Any]:
        own = [
            s
            for s in self.timings
            if (s.provider, s.context_tokens, s.concurrency) == (provider, context_tokens, concurrency)
        ]
        times = [s.ttft_ms for s in own if s.ttft_ms is not None]
        speeds = [s.tokens_per_s for s in own if s.tokens_per_s is not None]
        totals = [s.total_ms for s in own if s.total_ms is not None]
        errors: dict[str, int] = {}
        for timing in own:
            if timing.error:
                errors[timing.error] = errors.get(timing.error, 0) + 1
        return {
            "provider": provider,
            "simulated": provider in self.simulated,
            "context_tokens": context_tokens,
            "concurrency": concurrency,
            "n": len(own),
            "ttft_p50_ms": _interval(times, 50, self.seed),
            "ttft_p95_ms": _interval(times, 95, self.seed),
            "ttft_max_ms": round(max(times), 1) if times else None,
            "tokens_per_s_p50": _interval(speeds, 50, self.seed),
            "total_p95_ms": _interval(totals, 95, self.seed),
            "errors": errors,
        }

    def predictions(self) -> tuple[list[Predicted], Advice | None]:
        """Predictions for all providers, and the advice: about real providers only, if there are any."""
        times, measured = complete_stage_times(self.turns), speeds(self.timings)
        if not times:
            return [], None
        real = {name: speed for name, speed in measured.items() if name not in self.simulated}
        return [predict(times, name, speed) for name, speed in measured.items()], advise(times, real or measured)

    def as_json(self) -> str:
        """JSON, for programs."""
        predictions, advice = self.predictions()
        body = {
            "schema": 1,
            "seed": self.seed,
            "labels": dict(self.labels),
            "rows": self.rows(),
            "turns": len(complete_stage_times(self.turns)),
            "predicted": [asdict(one) | {"simulated": one.name in self.simulated} for one in predictions],
            "advice": None if advice is None else asdict(advice),
        }
        return json.dumps(body, indent=2)

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Title, header and rows of each table, as text."""
        tables = [
            (
                "First content and speed",
                ["provider", "context", "at once", "n", "TTFT P50 ms", "TTFT P95 ms", "max", "tok/s P50", "errors"],
                [
                    [
                        self._named(r["provider"]),
                        f"{r['context_tokens']:,}",
                        str(r["concurrency"]),
                        str(r["n"]),
                        _shown(r["ttft_p50_ms"]),
                        _shown(r["ttft_p95_ms"]),
                        "-" if r["ttft_max_ms"] is None else f"{r['ttft_max_ms']:.0f}",
                        _shown(r["tokens_per_s_p50"]),
                        ", ".join(f"{n} {name}" for name, n in r["errors"].items()) or "0",
                    ]
                    for r in self.rows()
                ],
            )
        ]
        predictions, _ = self.predictions()
        if predictions:
            count = len(complete_stage_times(self.turns))
            tables.append(
                (
                    f"When to route where: predicted voice to voice over {count} recorded turns",
                    ["provider", "P50 ms", "P95 ms", "of it, the first clause at its speed"],
                    [
                        [
                            self._named(p.name),
                            f"{p.p50_ms:.0f}",
                            f"{p.p95_ms:.0f}",
                            f"{p.first_clause_ms:.0f} ms",
                        ]
                        for p in sorted(predictions, key=lambda p: (p.p95_ms, p.p50_ms))
                    ],
                )
            )
        return tables

    def _named(self, provider: str) -> str:
        return f"{provider} (simulated)" if provider in self.simulated else provider

    def notes(self) -> list[str]:
        """The notes below the tables: providers, advice with reasons, method."""
        notes = [f"{self._named(name)}: {label}" for name, label in self.labels.items()]
        _, advice = self.predictions()
        if advice is not None:
            kind = "a suggestion among simulations" if advice.primary.name in self.simulated else "suggested"
            hedge = f", hedge {advice.hedged.hedge}" if advice.hedged else ""
            notes += [f"{kind}: primary {advice.primary.name}{hedge}", *advice.reasons]
        elif not self.turns:
            notes.append("no recorded turns of this machine: give --turns FILE (voice-agent script --jsonl FILE)")
        else:
            notes.append("none of the recorded turns has all the marks that a prediction needs")
        notes.append(f"intervals: 95 %, bootstrap; requests interleaved, seed {self.seed}")
        return notes

    def as_markdown(self) -> str:
        """Markdown, for the terminal and for docs."""
        out = []
        for title, head, rows in self.tables():
            out += [f"### {title}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
            out += [f"| {' | '.join(row)} |" for row in rows] + [""]
        return "\n".join([*out, *(f"- {note}" for note in self.notes()), ""])

    def as_html(self) -> str:
        """One self-contained page."""
        out = [
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Providers</title>',
            "<style>body{font:15px system-ui,sans-serif;margin:2rem;color-scheme:light dark}"
            "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #8886;padding:.3rem .6rem;"
            "text-align:right}td:first-child,th:first-child{text-align:left}</style>",
        ]
        for title, head, rows in self.tables():
            cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
            out.append(f"<h2>{html.escape(title)}</h2><table><tr>{cells}</tr>")
            out += [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
            out.append("</table>")
        return "\n".join(
            [*out, "<ul>", *(f"<li>{html.escape(note)}</li>" for note in self.notes()), "</ul></html>", ""]
        )


def _interval(values: Sequence[float], q: float, seed: int) -> dict[str, float] | None:
    if not values:
        return None
    found = percentile_interval(values, q, seed=seed)
    return {"estimate": round(found.estimate, 1), "low": round(found.low, 1), "high": round(found.high, 1)}


def _shown(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return "-"
    return f"{interval['estimate']:,.0f} [{interval['low']:,.0f}, {interval['high']:,.0f}]"
