"""Figures of a session: exact percentiles, and every latency with its rate of cut-offs. Pure."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .ledger import Stage, Turn
from .turn_verdict import Verdict


def percentile(values: Iterable[float], q: float) -> float:
    """The ``q``-th percentile (0 to 100) of ``values`` in any order, interpolated linearly between neighbours.

    Hyndman and Fan's definition 7, the default of ``numpy.percentile``. Raises ValueError for no values or a ``q``
    outside 0 to 100. Every percentile of the package is computed here, except those over the rows of a matrix.
    """
    ordered = sorted(values)  # linear where they are sorted already
    if not ordered:
        raise ValueError("no values, no percentile")
    if not 0 <= q <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {q}")
    position = (len(ordered) - 1) * q / 100
    below = math.floor(position)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return low + (high - low) * (position - below)


@dataclass(frozen=True, slots=True)
class Spread:
    """P50, P95 and maximum of ``n`` values in milliseconds."""

    n: int
    p50_ms: float
    p95_ms: float
    max_ms: float

    def __str__(self) -> str:
        return f"P50 {self.p50_ms:.0f}  P95 {self.p95_ms:.0f}  max {self.max_ms:.0f} ms (n = {self.n})"


class Percentiles:
    """Values in milliseconds, kept sorted: exact percentiles at any time, 8 bytes a value."""

    __slots__ = ("_ordered",)

    def __init__(self) -> None:
        self._ordered: list[float] = []

    def add(self, value_ms: float) -> None:
        """Add one value. Raises ValueError if it is not finite."""
        if not math.isfinite(value_ms):
            raise ValueError(f"{value_ms} is not a duration")
        bisect.insort(self._ordered, value_ms)

    def spread(self) -> Spread | None:
        """The figures so far; None without values."""
        if not self._ordered:
            return None
        return Spread(
            len(self._ordered), percentile(self._ordered, 50), percentile(self._ordered, 95), self._ordered[-1]
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a session. ``str()`` gives two lines, with latency and cut-offs in the first.

    ``voice_to_voice`` and ``stages`` cover the turns that were answered, not cut off and not failed; ``turns`` counts
    all. ``unanswered`` turns had no sound, ``failed`` turns have an error (an apology may have been spoken).
    """

    turns: int
    voice_to_voice: Spread | None
    stages: dict[Stage, Spread]
    cut_offs: int
    unanswered: int
    failed: int
    over_budget: int
    interrupted: int
    reopened: int
    simulated: int
    requests: int
    tokens_wasted: int
    audio_gaps: int
    audio_gaps_ms: float
    degradation_steps: dict[str, int] = field(default_factory=dict)
    first_sound: Spread | None = None
    """Time to the first sound, acknowledgements included; None if no turn had an acknowledgement."""

    @property
    def cut_off_rate(self) -> float | None:
        """Share of the turns in which the agent cut the user off, 0 to 1; None without turns."""
        return self.cut_offs / self.turns if self.turns else None

    @property
    def requests_per_turn(self) -> float | None:
        """LLM requests a turn, discarded ones included; None without turns."""
        return self.requests / self.turns if self.turns else None

    def headline(self) -> str:
        """Latency and cut-offs in one line."""
        if not self.turns:
            return "no turns yet"
        latency = str(self.voice_to_voice) if self.voice_to_voice else "no voice-to-voice time"
        return f"{latency}, cut off {self.cut_offs} of {self.turns} ({self.cut_offs / self.turns:.0%})"

    def details(self) -> str:
        """All other counts in one line."""
        parts = [f"over budget {self.over_budget}", f"unanswered {self.unanswered}", f"failed {self.failed}"]
        if self.requests:
            parts.append(f"LLM requests {self.requests_per_turn:.1f} a turn, {self.tokens_wasted} tokens wasted")
        if self.interrupted:
            parts.append(f"interrupted {self.interrupted}")
        if self.reopened:
            parts.append(f"reopened {self.reopened}")
        if self.audio_gaps:
            parts.append(f"audio gaps {self.audio_gaps} ({self.audio_gaps_ms:.0f} ms)")
        if self.degradation_steps:
            parts.append(
                "late: " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in self.degradation_steps.items())
            )
        if self.first_sound:
            parts.append(f"first sound, acknowledgements counted, {self.first_sound}")
        if self.simulated:
            parts.append(f"simulated {self.simulated}")
        return ", ".join(parts)

    def __str__(self) -> str:
        return f"{self.headline()}\n{self.details()}" if self.turns else self.headline()


class SessionStats:
    """Counts turns one by one; :meth:`summary` may be called at any time."""

    __slots__ = ("_counts", "_degradation_steps", "_first", "_gaps_ms", "_stages", "_total")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._gaps_ms = 0.0
        self._total = Percentiles()
        self._first = Percentiles()
        self._degradation_steps: Counter[str] = Counter()
        self._stages: dict[Stage, Percentiles] = {}

    def add(self, turn: Turn, judged: Verdict) -> None:
        """Count ``turn``; ``judged`` is its verdict (:func:`.ledger.verdict`)."""
        for name, amount in (
            ("turns", 1),
            ("cut_offs", turn.cut_off),
            ("unanswered", not turn.answered),
            ("failed", turn.error is not None),
            ("over_budget", bool(judged.over) and turn.counts_for_latency),
            ("interrupted", turn.interrupted),
            ("reopened", turn.reopened),
            ("simulated", bool(turn.simulated)),
            ("requests", turn.speculation.requests),
            ("tokens_wasted", turn.speculation.tokens_wasted),
            ("audio_gaps", turn.audio_gaps),
        ):
            self._counts[name] += int(amount)
        self._gaps_ms += turn.audio_gaps_ms
        self._degradation_steps.update(list(turn.degradation))
        if turn.counts_for_latency and (total_ms := turn.voice_to_voice_ms) is not None:
            self._total.add(total_ms)
            self._first.add(total_ms if turn.acknowledged_ms is None else turn.acknowledged_ms)
            for stage, ms in turn.spans_ms.items():
                self._stages.setdefault(stage, Percentiles()).add(ms)

    def summary(self) -> Summary:
        spreads = ((stage, self._stages[stage].spread()) for stage in Stage if stage in self._stages)
        counts = self._counts
        return Summary(
            turns=counts["turns"],
            voice_to_voice=self._total.spread(),
            stages={stage: spread for stage, spread in spreads if spread is not None},
            cut_offs=counts["cut_offs"],
            unanswered=counts["unanswered"],
            failed=counts["failed"],
            over_budget=counts["over_budget"],
            interrupted=counts["interrupted"],
            reopened=counts["reopened"],
            simulated=counts["simulated"],
            requests=counts["requests"],
            tokens_wasted=counts["tokens_wasted"],
            audio_gaps=counts["audio_gaps"],
            audio_gaps_ms=self._gaps_ms,
            degradation_steps=dict(sorted(self._degradation_steps.items())),
            first_sound=self._first.spread() if self._degradation_steps["acknowledge"] else None,
        )
