"""The events of a call, as values and as the JSON objects of ``--json`` (docs/talk.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..budget.export import to_row
from ..budget.ledger import Turn
from ..budget.turn_verdict import Budget

StateName = Literal["listening", "hearing", "thinking", "speaking"]
UsageState = Literal["ok", "warn", "full"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A slow step has begun: loading models, a download, warming the connection."""

    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the user: something is missing, a device was lost, a library wrote to standard error."""

    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The call has begun. ``device``: both devices in words; the latencies as they report them, or None."""

    model: str
    provider: str
    stt_model: str
    voice: str
    simulated: tuple[str, ...] = ()
    device: str = ""
    input_latency_ms: float | None = None
    output_latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class CallStatus:
    """Who is speaking or thinking."""

    name: StateName


@dataclass(frozen=True, slots=True)
class Muted:
    """The microphone was muted (``on``) or opened."""

    on: bool


@dataclass(frozen=True, slots=True)
class UserWords:
    """The user's words so far; provisional until ``final``. Empty and not final: the sound held no words."""

    text: str
    final: bool
    typed: bool = False


@dataclass(frozen=True, slots=True)
class AgentWords:
    """The agent's next words, when they are heard. ``text`` continues the words before it in this speech."""

    text: str


@dataclass(frozen=True, slots=True)
class AgentFinished:
    """The agent's speech has ended, complete or interrupted."""


@dataclass(frozen=True, slots=True)
class TurnDone:
    """A turn is closed; its row of the ledger."""

    turn: Turn


@dataclass(frozen=True, slots=True)
class SoundLevel:
    """The microphone's level (dBFS, at most 0) and each device's xruns since the call began."""

    level_dbfs: float
    input_xruns: int
    output_xruns: int


@dataclass(frozen=True, slots=True)
class ProviderUsage:
    """What all programs on this machine have used of a provider today (UTC).

    ``quota``: the nearest limit; ``share``: the used part of it (1: nothing left). None: no limit is known.
    """

    provider: str
    requests_today: int
    tokens_today: int
    quota: str | None = None
    share: float | None = None
    state: UsageState = "ok"


@dataclass(frozen=True, slots=True)
class Typing:
    """The line being typed; None: no line."""

    line: str | None


@dataclass(frozen=True, slots=True)
class ShowLedger:
    """The user wants to see the full ledger of the last turn."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over: ``quit``, ``stopped`` (a signal, an error) or ``session closed``."""

    reason: str


Event = (
    Progress
    | Note
    | Ready
    | CallStatus
    | Muted
    | UserWords
    | AgentWords
    | AgentFinished
    | TurnDone
    | SoundLevel
    | ProviderUsage
    | Typing
    | ShowLedger
    | Ended
)


def to_json(event: Event, at_s: float, budget: Budget) -> dict[str, Any] | None:
    """The event as a JSON object, ``at_s`` seconds after the program began; None for events of the screen only."""
    fields: dict[str, Any]
    match event:
        case Progress(text):
            name, fields = "progress", {"text": text}
        case Note(text):
            name, fields = "note", {"text": text}
        case Ready():
            name = "ready"
            fields = {
                "model": event.model,
                "provider": event.provider,
                "stt": event.stt_model,
                "voice": event.voice,
                "simulated": list(event.simulated),
                "device": event.device,
                "input_latency_ms": event.input_latency_ms,
                "output_latency_ms": event.output_latency_ms,
            }
        case CallStatus(state):
            name, fields = "state", {"state": state}
        case Muted(on):
            name, fields = "muted", {"on": on}
        case UserWords(text, final, typed):
            name, fields = "heard", {"text": text, "final": final, "typed": typed}
        case AgentWords(text):
            name, fields = "saying", {"text": text}
        case AgentFinished():
            name, fields = "said", {}
        case TurnDone(turn):
            name, fields = "turn", {"turn": to_row(turn, budget)}
        case SoundLevel(_, lost_in, lost_out):
            name, fields = "xruns", {"input": lost_in, "output": lost_out}
        case ProviderUsage():
            name = "usage"
            fields = {
                "provider": event.provider,
                "requests_today": event.requests_today,
                "tokens_today": event.tokens_today,
                "quota": event.quota,
                "share": None if event.share is None else round(event.share, 4),
                "state": event.state,
            }
        case Ended(reason):
            name, fields = "ended", {"reason": reason}
        case Typing() | ShowLedger():
            return None
    return {"event": name, "at_s": round(at_s, 3)} | fields
