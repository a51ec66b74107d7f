"""A double of an AgentSession's events, fired in LiveKit's order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from livekit.agents import metrics
from livekit.agents.llm import ChatMessage
from livekit.agents.metrics import EOUMetrics
from livekit.agents.voice import (
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    MetricsCollectedEvent,
    SpeechCreatedEvent,
)

from voice_agent.budget import Mark, Turn
from voice_agent.budget.attach import SessionLedger, attach
from voice_agent.clock import ManualClock
from voice_agent.turn_events import EndOfTurn, UserTurn

WALL_AHEAD_S = 1_000_000.0


class Calendar(ManualClock):
    def wall(self) -> float:
        return self.now() + WALL_AHEAD_S


@dataclass(eq=False)
class Handle:
    """A speech handle: what the ledger uses of it."""

    id: str
    interrupted: bool = False
    error: BaseException | None = None
    callbacks: list[Callable[[Any], None]] = field(default_factory=list)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.callbacks.append(callback)

    def exception(self) -> BaseException | None:
        return self.error


class Session:
    """The events of one session, fired by the test."""

    def __init__(self) -> None:
        self.clock = Calendar(100.0)
        self.handlers: dict[str, list[Callable[[Any], None]]] = {}
        self.current_speech: Handle | None = None
        self.turns: list[Turn] = []
        self.ledger: SessionLedger = attach(
            self,  # type: ignore[arg-type]
            on_turn=self.turns.append,
            stt_model="tiny.en",
            voice="joe",
            clock=self.clock,
        )

    def on(self, name: str, handler: Callable[[Any], None]) -> None:
        self.handlers.setdefault(name, []).append(handler)

    def fire(self, name: str, event: Any) -> None:
        for handler in self.handlers[name]:
            handler(event)

    def speech(self, id: str) -> Handle:
        handle = Handle(id)
        event = SpeechCreatedEvent.model_construct(user_initiated=False, source="generate_reply", speech_handle=handle)
        self.fire("speech_created", event)
        return handle

    def plays(self, handle: Handle) -> None:
        self.current_speech = handle

    def done(self, handle: Handle) -> None:
        self.current_speech = None
        for callback in handle.callbacks:
            callback(handle)

    def item(self, role: str, text: str, *, interrupted: bool = False) -> None:
        message = ChatMessage(role=role, content=[text], interrupted=interrupted)  # type: ignore[arg-type]
        self.fire("conversation_item_added", ConversationItemAddedEvent(item=message))

    def error(self, error: BaseException) -> None:
        class Failed:
            pass

        failed = Failed()
        failed.error = error  # type: ignore[attr-defined]
        self.fire("error", ErrorEvent.model_construct(error=failed, source=None))

    def metrics(self, m: metrics.AgentMetrics) -> None:
        self.fire("metrics_collected", MetricsCollectedEvent.model_construct(metrics=m))

    def committed(self, text: str = "Who wrote it?", *, ended: float, at: float, reopened: bool = False) -> None:
        commit = EndOfTurn(text, ended, at - ended, 0.16, -0.5, "reply ready")
        self.ledger.user_turn(
            UserTurn(text, ended - 1.0, ended, ended - 0.1, at, commit, reopened, {"completeness": -0.5})
        )

    def generation(self, id: str, requested: float, tokens: int = 10) -> None:
        trace = self.ledger.generation(id)
        trace.mark(Mark.LLM_REQUESTED, requested)
        trace.mark(Mark.LLM_FIRST_CONTENT, requested + 0.17)
        trace.mark(Mark.CHUNK_READY, requested + 0.18)
        trace.mark(Mark.TTS_FIRST_AUDIO, requested + 0.25)
        trace.fact(provider="p", model="m", completion_tokens=tokens, prompt_tokens=90)


def answered(
    session: Session, id: str, *, ended: float, at: float, audible: float, text: str = "Jane Austen."
) -> Handle:
    """A turn of ours from its commit to its end."""
    handle = session.speech(id)
    session.committed(ended=ended, at=at)
    session.plays(handle)
    session.ledger.audible(audible)
    session.item("assistant", text)
    session.done(handle)
    return handle


def speaking(at: float) -> AgentStateChangedEvent:
    return AgentStateChangedEvent(old_state="thinking", new_state="speaking", created_at=at + WALL_AHEAD_S)


def commit_as(session: Session, speech_id: str) -> None:
    session.committed(ended=102.0, at=102.2)
    session.metrics(
        EOUMetrics(
            timestamp=102.2 + WALL_AHEAD_S, end_of_utterance_delay=0.2, transcription_delay=0.1,
            on_user_turn_completed_delay=0.0, speech_id=speech_id,
        )
    )  # fmt: skip
