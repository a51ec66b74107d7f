"""What a call tells outside: each turn to those in the room who may know, to Prometheus and to OpenTelemetry; and to
the same people what the language model's provider has counted.

Names are LiveKit's where LiveKit has one: its own gauges stand beside ours on ``/metrics``, its session spans and
histograms (``lk.agents.*``) are its own doing, and ``lk.e2e_latency`` and the like are attributes of our turn's span.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import prometheus_client
from livekit import rtc
from livekit.agents.telemetry import trace_types, tracer
from livekit.agents.utils import nodename
from opentelemetry import metrics, trace

from .. import meter
from ..budget.export import to_row
from ..budget.ledger import Budget, Mark, Turn
from ..clock import SYSTEM, Clock
from ..meter import Snapshot
from .access import LEDGER_ATTRIBUTE, LEDGER_TOPIC, USAGE_TOPIC

log = logging.getLogger("voice_agent.room")

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
    """One word for how a turn went; the worst that is true."""
    if turn.error is not None:
        return "failed"
    if turn.cut_off:
        return "cut_off"
    return "answered" if turn.answered else "unanswered"


def count(turn: Turn, budget: Budget) -> None:
    """Into the histograms and counters of Prometheus and OpenTelemetry. From any thread."""
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


def ended_call(how: str) -> None:
    """A call is over: ``ended`` or ``failed``."""
    CALLS.labels(**_NODE, outcome=how).inc()


def spans(turn: Turn, parent: Any = None, clock: Clock = SYSTEM) -> None:
    """The turn as a span (``agent_reply``, so as not to double LiveKit's ``agent_turn``), a child span for each stage.

    ``parent``: an OpenTelemetry context. Texts are left out: they are the user's.
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


def may_know(participant: rtc.RemoteParticipant) -> bool:
    """The token gave the attribute; one that the participant could have given itself does not count."""
    return participant.attributes.get(LEDGER_ATTRIBUTE) == "1" and not participant.permissions.can_update_metadata


async def send(room: rtc.Room, turn: Turn, budget: Budget) -> None:
    """Tell the turn to the participants that may know it. A room that is gone is not told."""
    told = [p.identity for p in room.remote_participants.values() if may_know(p)]
    await _tell(room, json.dumps(to_row(turn, budget), ensure_ascii=False), LEDGER_TOPIC, told)


USAGE_EVERY_S = 2.0
"""As often as the meter makes a new reading."""


def usage_message(snapshot: Snapshot | None) -> str | None:
    """The providers that were asked today, as JSON (docs/rooms.md has the fields); None: there is nothing to tell."""
    providers = []
    for reading in snapshot.providers.values() if snapshot is not None else ():
        if not reading.day.requests and reading.state == "ok":
            continue
        near = reading.highest
        providers.append(
            {
                "provider": reading.provider,
                "requests_today": reading.day.requests,
                "tokens_today": reading.day.tokens,
                "quota": None if near is None else near.name,
                "used": None if near is None else near.used,
                "limit": None if near is None else near.limit,
                "source": None if near is None else near.source,
                "state": reading.state,
            }
        )
    return json.dumps({"schema": 1, "providers": providers}) if providers else None


class UsageTold:
    """Tells the meter's figures to those in the room who may know them: when they have changed, and to who comes
    later. ``read``: the last reading; it must not block."""

    def __init__(self, room: rtc.Room, read: Callable[[], Snapshot | None] = meter.snapshot) -> None:
        self._room = room
        self._read = read
        self._told: dict[str, str] = {}  # by the participant's sid: who returns is told again

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            await self.tell()
            await asyncio.sleep(USAGE_EVERY_S)

    async def tell(self) -> None:
        """Once."""
        if (message := usage_message(self._read())) is None:
            return
        people = [p for p in self._room.remote_participants.values() if may_know(p)]
        new = [p for p in people if self._told.get(p.sid) != message]
        if await _tell(self._room, message, USAGE_TOPIC, [p.identity for p in new]):
            self._told = {p.sid: message for p in people}


async def _tell(room: rtc.Room, text: str, topic: str, identities: list[str]) -> bool:
    if not identities or not room.isconnected():
        return False
    try:
        await room.local_participant.send_text(text, topic=topic, destination_identities=identities)
    except Exception as e:  # livekit.rtc raises plain exceptions for whatever the native side said
        log.warning("%s could not be told to the room: %s", topic, e)
        return False
    return True
