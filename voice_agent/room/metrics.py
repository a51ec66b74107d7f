"""Each turn of a call as numbers for Prometheus and OpenTelemetry, and as an OpenTelemetry span.

Names are LiveKit's where LiveKit has one. Its own gauges are on the same ``/metrics``; its session spans and histograms
(``lk.agents.*``) are made by itself; its attribute ``lk.e2e_latency`` and the like are set on our turn's span.
"""

from __future__ import annotations

from typing import Any

import prometheus_client
from livekit.agents.telemetry import trace_types, tracer
from livekit.agents.utils import nodename
from opentelemetry import metrics, trace

from ..budget.ledger import Mark, Turn
from ..budget.turn_verdict import Budget
from ..clock import SYSTEM, Clock

_SECONDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.57, 0.7, 0.85, 1.0, 1.5, 2.0, 4.0, 8.0)
_NODE = {"nodename": nodename()}  # the label of LiveKit's own metrics
VOICE_TO_VOICE = prometheus_client.Histogram(
    "voice_agent_voice_to_voice_seconds",
    "From the user's last sound to the agent's first, at the room's track",
    ["nodename"],
    buckets=_SECONDS,
)
STAGES = prometheus_client.Histogram(
    "voice_agent_stage_seconds", "A turn's time by stage (docs/ledger.md)", ["nodename", "stage"], buckets=_SECONDS
)
TURNS = prometheus_client.Counter(
    "voice_agent_turns", "Turns by outcome: answered, unanswered, failed, cut_off", ["nodename", "outcome"]
)
REQUESTS = prometheus_client.Counter(
    "voice_agent_llm_requests", "Requests to the language model: played, or thrown away", ["nodename", "use"]
)
TOKENS_WASTED = prometheus_client.Counter(
    "voice_agent_llm_tokens_wasted", "Completion tokens of replies nobody heard", ["nodename"]
)
OVER_BUDGET = prometheus_client.Counter("voice_agent_turns_over_budget", "Turns over their budget", ["nodename"])
CALLS = prometheus_client.Counter("voice_agent_calls", "Calls by how they went: ended, failed", ["nodename", "outcome"])

_meter = metrics.get_meter("voice-agent")
_otel_total = _meter.create_histogram("voice_agent.voice_to_voice", unit="s")
_otel_stage = _meter.create_histogram("voice_agent.stage", unit="s")
_otel_wasted = _meter.create_counter("voice_agent.llm_tokens_wasted", unit="{token}")


def outcome(turn: Turn) -> str:
    """How a turn went, in one word: failed before cut_off before answered or unanswered."""
    if turn.error is not None:
        return "failed"
    if turn.cut_off:
        return "cut_off"
    return "answered" if turn.answered else "unanswered"


def count_turn(turn: Turn, budget: Budget) -> None:
    """Add the turn to the histograms and counters of Prometheus and OpenTelemetry. From any thread."""
    TURNS.labels(**_NODE, outcome=outcome(turn)).inc()
    REQUESTS.labels(**_NODE, use="thrown_away").inc(turn.speculation.thrown_away)
    REQUESTS.labels(**_NODE, use="played").inc(turn.speculation.requests - turn.speculation.thrown_away)
    TOKENS_WASTED.labels(**_NODE).inc(turn.speculation.tokens_wasted)
    _otel_wasted.add(turn.speculation.tokens_wasted)
    if not turn.counts_for_latency or (total_ms := turn.voice_to_voice_ms) is None:
        return
    VOICE_TO_VOICE.labels(**_NODE).observe(total_ms / 1000)
    _otel_total.record(total_ms / 1000)
    if total_ms > budget.total_ms:
        OVER_BUDGET.labels(**_NODE).inc()
    for stage, ms in turn.spans_ms.items():
        STAGES.labels(**_NODE, stage=str(stage)).observe(ms / 1000)
        _otel_stage.record(ms / 1000, {"stage": str(stage)})


def count_call(how: str) -> None:
    """Count a call that is over: ``ended`` or ``failed``."""
    CALLS.labels(**_NODE, outcome=how).inc()


def trace_turn(turn: Turn, parent: Any = None, clock: Clock = SYSTEM) -> None:
    """Record the turn as a span ``agent_reply`` (``agent_turn`` is LiveKit's own), with a child span for each stage.

    ``parent``: an OpenTelemetry context. Texts are left out: they are private.
    """
    ended, heard = turn.marks[Mark.SPEECH_ENDED], turn.marks[Mark.FIRST_AUDIBLE]
    if ended is None or heard is None or heard < ended:
        return
    to_wall = clock.wall() - clock.now()

    def at_ns(monotonic_s: float) -> int:
        return round((monotonic_s + to_wall) * 1e9)

    attributes: dict[str, Any] = {
        trace_types.ATTR_E2E_LATENCY: heard - ended,
        "voice_agent.turn": turn.id,
        "voice_agent.outcome": outcome(turn),
        "voice_agent.interrupted": turn.interrupted,
        "voice_agent.tokens_wasted": turn.speculation.tokens_wasted,
    }
    if (ready := turn.marks[Mark.TRANSCRIPT_READY]) is not None:
        attributes[trace_types.ATTR_TRANSCRIPTION_DELAY] = max(0.0, ready - ended)
    if (committed := turn.marks[Mark.TURN_COMMITTED]) is not None:
        attributes[trace_types.ATTR_END_OF_TURN_DELAY] = max(0.0, committed - ended)
    whole = tracer.start_span("agent_reply", context=parent, start_time=at_ns(ended), attributes=attributes)
    inside = trace.set_span_in_context(whole)
    at = ended
    for stage, ms in turn.spans_ms.items():
        if ms > 0:
            span = tracer.start_span(f"agent_reply.{stage}", context=inside, start_time=at_ns(at))
            at += ms / 1000
            span.end(end_time=at_ns(at))
    whole.end(end_time=at_ns(heard))
