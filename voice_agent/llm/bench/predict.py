"""Predicts the voice-to-voice times that measured models would have had in turns recorded on this machine. Pure.

A recorded turn keeps its own times for STT, end of turn, TTS and output; only the LLM's time is replaced. Work that the
end-of-turn wait hid stays hidden, and a faster model gains nothing where that wait decides. Not predicted: a slower or
faster model would have changed when the reply was requested.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...budget.ledger import Mark, Turn
from ...budget.stage_times import StageTimes, stage_times
from ...budget.stats import percentile
from .measure import RequestTiming

FIRST_CLAUSE_TOKENS = 8  # about six words: the first chunk of TTS (docs/tts.md)
DRAWS = 4000
MAX_ERRORS = 0.05
HEDGE_AT = 90


def complete_stage_times(turns: Sequence[Turn]) -> list[StageTimes]:
    """The stage times of the answered turns that have all marks a prediction needs, in causal order."""
    needed = (
        Mark.SPEECH_ENDED,
        Mark.LLM_REQUESTED,
        Mark.CHUNK_READY,
        Mark.TTS_FIRST_AUDIO,
        Mark.TURN_COMMITTED,
        Mark.FIRST_AUDIBLE,
    )
    found = []
    for turn in turns:
        at = {name: seconds for name in needed if (seconds := turn.marks[name]) is not None}
        if len(at) < len(needed) or not turn.counts_for_latency:
            continue
        ready = max(at[Mark.TTS_FIRST_AUDIO], at[Mark.TURN_COMMITTED])
        if at[Mark.TTS_FIRST_AUDIO] >= at[Mark.CHUNK_READY] and at[Mark.FIRST_AUDIBLE] >= ready:
            found.append(stage_times(turn))
    return found


@dataclass(frozen=True, slots=True)
class ProviderSpeed:
    """The measurements of one provider: times to the first content, P50 of the speed, share of errors, requests."""

    ttft_ms: tuple[float, ...]
    tokens_per_s: float
    errors: float
    n: int


def speeds(timings: Sequence[RequestTiming]) -> dict[str, ProviderSpeed]:
    """By provider, at the lowest concurrency that was measured."""
    least = min((s.concurrency for s in timings), default=1)
    found = {}
    for name in dict.fromkeys(s.provider for s in timings):
        own = [s for s in timings if s.provider == name and s.concurrency == least]
        times = tuple(s.ttft_ms for s in own if s.ttft_ms is not None)
        rates = [s.tokens_per_s for s in own if s.tokens_per_s is not None]
        if times:
            # No rate: the whole answer came at once.
            speed = percentile(rates, 50) if rates else 10_000.0
            found[name] = ProviderSpeed(times, speed, sum(s.error is not None for s in own) / len(own), len(own))
    return found


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predicted voice-to-voice times with one provider, or with a hedge; ``extra``: share of turns with two
    requests."""

    name: str
    p50_ms: float
    p95_ms: float
    first_clause_ms: float
    hedge: str | None = None
    hedge_after_ms: float | None = None
    extra: float = 0.0


def _turn_ms(times: StageTimes, ttft_ms: float, clause_ms: float) -> float:
    audio_s = times.requested_s + (ttft_ms + clause_ms) / 1000 + times.tts_s
    return (max(audio_s, times.committed_s) + times.output_s) * 1000


def predict(
    turns: Sequence[StageTimes],
    name: str,
    speed: ProviderSpeed,
    hedge: tuple[str, ProviderSpeed] | None = None,
    *,
    seed: int = 1,
) -> Predicted:
    """The P50 and P95 of ``DRAWS`` drawn pairs of a turn and a time to the first content.

    With a hedge, a second request goes to it when the first has no content by its own P90; the faster answer counts.
    """
    rng = random.Random(seed)
    clause_ms = FIRST_CLAUSE_TOKENS / speed.tokens_per_s * 1000
    after_ms = percentile(speed.ttft_ms, HEDGE_AT)
    drawn, twice = [], 0
    for _ in range(DRAWS):
        times, ttft_ms, clause = rng.choice(turns), rng.choice(speed.ttft_ms), clause_ms
        if hedge is not None and ttft_ms > after_ms:
            twice += 1
            other_ms = after_ms + rng.choice(hedge[1].ttft_ms)
            if other_ms < ttft_ms:
                ttft_ms, clause = other_ms, FIRST_CLAUSE_TOKENS / hedge[1].tokens_per_s * 1000
        drawn.append(_turn_ms(times, ttft_ms, clause))
    return Predicted(
        name,
        percentile(drawn, 50),
        percentile(drawn, 95),
        clause_ms,
        hedge[0] if hedge else None,
        after_ms if hedge else None,
        twice / DRAWS,
    )


@dataclass(frozen=True, slots=True)
class Advice:
    """The suggested primary provider, a hedge if one helps, and the reasons in words."""

    primary: Predicted
    hedged: Predicted | None
    reasons: tuple[str, ...]


def advise(turns: Sequence[StageTimes], measured: Mapping[str, ProviderSpeed]) -> Advice | None:
    """The suggestion; None without recorded turns or without a provider that answered."""
    if not turns or not measured:
        return None
    steady = {name: speed for name, speed in measured.items() if speed.errors <= MAX_ERRORS} or dict(measured)
    alone = sorted((predict(turns, name, speed) for name, speed in steady.items()), key=lambda p: (p.p95_ms, p.p50_ms))
    best, reasons = alone[0], []
    left_out = [f"{name} ({measured[name].errors:.0%})" for name in measured if name not in steady]
    reasons.append(f"{best.name}: lowest predicted P95, {best.p95_ms:.0f} ms (P50 {best.p50_ms:.0f})")
    if len(alone) > 1:
        reasons.append(f"the next, {alone[1].name}: P95 {alone[1].p95_ms:.0f} ms (P50 {alone[1].p50_ms:.0f})")
    if left_out:
        reasons.append(f"not considered, too many errors: {', '.join(left_out)}")
    hedges = [
        predict(turns, best.name, steady[best.name], (name, speed))
        for name, speed in steady.items()
        if name != best.name
    ]
    hedged = min(hedges, key=lambda p: p.p95_ms, default=None)
    if hedged is not None and hedged.p95_ms < best.p95_ms - 1:
        reasons.append(
            f"hedge {hedged.hedge} after {hedged.hedge_after_ms:.0f} ms: P95 {hedged.p95_ms:.0f} ms, for"
            f" {hedged.extra:.0%} more requests"
        )
    else:
        hedged = None
        reasons.append("no hedge: a second provider would not shorten the P95 of these turns")
    waits = sum(one.committed_s >= one.requested_s + one.tts_s for one in turns) / len(turns)
    reasons.append(f"with an instant model, the wait before the end of turn would decide in {waits:.0%} of these turns")
    return Advice(best, hedged, tuple(reasons))
