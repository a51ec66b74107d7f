"""When to route where: voice-to-voice times that measured models would have had in turns recorded here. Pure.

A recorded turn keeps its own ears, wait, voice and output; only the model's part is replaced. So work that the wait hid
stays hidden, and a faster model gains nothing where the wait decides. What it cannot know: that a slower or faster
model would have changed when the reply was asked for.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...budget.ledger import Mark, Turn
from ...budget.stats import percentile
from .measure import RequestTiming

FIRST_CLAUSE_TOKENS = 8  # about six words: what the voice begins with (docs/voice.md)
DRAWS = 4000
MAX_ERRORS = 0.05
HEDGE_AT = 90


@dataclass(frozen=True, slots=True)
class Own:
    """One recorded turn, in ms from the end of speech: the request, the commit; then the voice's and output's time."""

    requested_ms: float
    committed_ms: float
    voice_ms: float
    output_ms: float


def own_stages(turns: Sequence[Turn]) -> list[Own]:
    """Of the turns that have all marks that it takes."""
    found = []
    for turn in turns:
        marks = turn.marks
        ended = marks[Mark.SPEECH_ENDED]
        wanted = [
            marks[name]
            for name in (
                Mark.LLM_REQUESTED,
                Mark.CHUNK_READY,
                Mark.TTS_FIRST_AUDIO,
                Mark.TURN_COMMITTED,
                Mark.FIRST_AUDIBLE,
            )
        ]
        if ended is None or not turn.counts_for_latency or any(at is None for at in wanted):
            continue
        asked, chunk, audio, committed, audible = (((at or 0.0) - ended) * 1000 for at in wanted)
        if audio >= chunk and audible >= max(audio, committed):
            found.append(Own(asked, committed, audio - chunk, audible - max(audio, committed)))
    return found


@dataclass(frozen=True, slots=True)
class ProviderSpeed:
    """One provider's samples, as the prediction needs them."""

    ttft_ms: tuple[float, ...]
    tokens_per_s: float
    errors: float
    n: int


def speeds(samples: Sequence[RequestTiming], context_tokens: int | None = None) -> dict[str, ProviderSpeed]:
    """By provider, one request at a time (or the least that was measured); of one length of context, or of all."""
    least = min((s.concurrency for s in samples), default=1)
    found = {}
    for name in dict.fromkeys(s.provider for s in samples):
        own = [
            s
            for s in samples
            if s.provider == name and s.concurrency == least and context_tokens in (None, s.context_tokens)
        ]
        times = tuple(s.ttft_ms for s in own if s.ttft_ms is not None)
        speeds = sorted(s.tokens_per_s for s in own if s.tokens_per_s is not None)
        if times:
            # Too fast to be told from one moment: the whole answer came at once.
            speed = percentile(speeds, 50) if speeds else 10_000.0
            found[name] = ProviderSpeed(times, speed, sum(s.error is not None for s in own) / len(own), len(own))
    return found


@dataclass(frozen=True, slots=True)
class Predicted:
    """Voice to voice, ms, with one provider; or with a hedge: ``extra`` is the share of turns that ask twice."""

    name: str
    p50_ms: float
    p95_ms: float
    first_clause_ms: float
    hedge: str | None = None
    hedge_after_ms: float | None = None
    extra: float = 0.0


def _turn_ms(own: Own, ttft_ms: float, clause_ms: float) -> float:
    audio = own.requested_ms + ttft_ms + clause_ms + own.voice_ms
    return max(audio, own.committed_ms) + own.output_ms


def predict(
    own: Sequence[Own], name: str, pace: ProviderSpeed, hedge: tuple[str, ProviderSpeed] | None = None, *, seed: int = 1
) -> Predicted:
    """Draw turns and first-word times ``DRAWS`` times. With a hedge, a second request is sent to it when the first has
    not spoken by its own P90; the first of both is heard."""
    rng = random.Random(seed)
    clause_ms = FIRST_CLAUSE_TOKENS / pace.tokens_per_s * 1000
    after_ms = percentile(sorted(pace.ttft_ms), HEDGE_AT)
    drawn, twice = [], 0
    for _ in range(DRAWS):
        turn, ttft_ms, clause = rng.choice(own), rng.choice(pace.ttft_ms), clause_ms
        if hedge is not None and ttft_ms > after_ms:
            twice += 1
            other_ms = after_ms + rng.choice(hedge[1].ttft_ms)
            if other_ms < ttft_ms:
                ttft_ms, clause = other_ms, FIRST_CLAUSE_TOKENS / hedge[1].tokens_per_s * 1000
        drawn.append(_turn_ms(turn, ttft_ms, clause))
    drawn.sort()
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
    """A primary, perhaps a hedge, and the reasons in words."""

    primary: Predicted
    hedged: Predicted | None
    reasons: tuple[str, ...]


def advise(own: Sequence[Own], measured: Mapping[str, ProviderSpeed]) -> Advice | None:
    """The suggestion; None without a recorded turn or a provider that answered."""
    if not own or not measured:
        return None
    steady = {name: pace for name, pace in measured.items() if pace.errors <= MAX_ERRORS} or dict(measured)
    alone = sorted((predict(own, name, pace) for name, pace in steady.items()), key=lambda p: (p.p95_ms, p.p50_ms))
    best, reasons = alone[0], []
    left_out = [f"{name} ({measured[name].errors:.0%})" for name in measured if name not in steady]
    reasons.append(f"{best.name}: lowest predicted P95, {best.p95_ms:.0f} ms (P50 {best.p50_ms:.0f})")
    if len(alone) > 1:
        reasons.append(f"the next, {alone[1].name}: P95 {alone[1].p95_ms:.0f} ms (P50 {alone[1].p50_ms:.0f})")
    if left_out:
        reasons.append(f"not considered, too many errors: {', '.join(left_out)}")
    hedges = [
        predict(own, best.name, steady[best.name], (name, pace)) for name, pace in steady.items() if name != best.name
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
    waits = sum(turn.committed_ms >= turn.requested_ms + turn.voice_ms for turn in own) / len(own)
    reasons.append(f"with an instant model, the wait before the commit would decide in {waits:.0%} of these turns")
    return Advice(best, hedged, tuple(reasons))
