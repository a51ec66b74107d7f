"""The observer of an ``AgentSession``: attaches a ledger to any session with one call.

    ledger = attach(session, on_turn=print)

With LiveKit's own plugins the marks come from the session's public events and metrics, with their accuracy. The stages
of this package report more: the STT reports each turn (:meth:`SessionLedger.user_turn`), the agent's nodes open a
:class:`~voice_agent.trace.GenerationTrace` for each request, and an output that counts samples reports the first
audible one (:meth:`SessionLedger.audible`). The first write of a mark wins, and the exact source writes first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from livekit.agents import AgentSession, metrics
from livekit.agents.voice import (
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    MetricsCollectedEvent,
    SpeechCreatedEvent,
    SpeechHandle,
    UserStateChangedEvent,
)

from ..clock import SYSTEM, Clock, from_wall
from ..trace import GenerationTrace
from ..turn_events import UserTurn
from .ledger import Mark, Speculation, Turn, TurnBuilder

RESUMED_WITHIN_S = 1.5  # speech this soon after an end of turn with an audible answer is a cut-off


@dataclasses.dataclass(slots=True)
class _Open:
    """A turn that is not closed yet, and the id of the speech that answers it."""

    builder: TurnBuilder
    speech_id: str | None = None
    done: bool = False


class SessionLedger:
    """Observes one session. ``on_turn`` is called on the event loop with each closed :class:`Turn`, in order."""

    def __init__(
        self,
        session: AgentSession[Any],
        *,
        on_turn: Callable[[Turn], None],
        stt_model: str | None = None,
        voice: str | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._session = session
        self._on_turn = on_turn
        self._clock = clock
        self._models = {"stt_model": stt_model, "voice": voice}
        self._count = 0
        self._open: _Open | None = None
        self._traces: dict[str, GenerationTrace] = {}
        self._last_error: BaseException | None = None
        self._last_speech_ended: float | None = None
        self._acknowledging: str | None = None
        self.degraded: tuple[str, ...] = ()
        """The degraded settings in use, by name; written into each turn."""
        session.on("metrics_collected", self._metrics)
        session.on("agent_state_changed", self._state)
        session.on("conversation_item_added", self._item)
        session.on("speech_created", self._speech)
        session.on("error", self._error)
        session.on("user_state_changed", self._user)

    # --- reported by the stages of this package -----------------------------------------------------------------------

    def generation(self, speech_id: str) -> GenerationTrace:
        """The trace of the generation that belongs to a speech handle; created at its first use."""
        return self._traces.setdefault(speech_id, GenerationTrace(speech_id, self._clock))

    def user_turn(self, turn: UserTurn) -> None:
        """The user's turn has ended (after :meth:`reopened`: with both parts)."""
        if self._open is not None:
            self._close()
        builder = self._new_builder()
        builder.reopened = turn.reopened
        builder.user_text = turn.text
        builder.mark(Mark.SPEECH_ENDED, turn.speech_ended_at)
        builder.mark(Mark.TRANSCRIPT_READY, turn.transcript_ready_at)
        builder.mark(Mark.TURN_COMMITTED, turn.committed_at)
        builder.evidence.update(turn.evidence)
        self._open = _Open(builder)
        self._last_speech_ended = turn.speech_ended_at

    def typed(self, text: str, at: float, speech_id: str) -> None:
        """The user typed ``text`` and pressed Enter at ``at``; the speech ``speech_id`` answers it.

        Enter is both ``transcript_ready`` and ``turn_committed``. There is no ``speech_ended`` and no voice-to-voice
        time; the evidence has ``"input": "typed"``.
        """
        if self._open is not None:
            self._close()
        builder = self._new_builder()
        builder.user_text = text
        builder.mark(Mark.TRANSCRIPT_READY, at)
        builder.mark(Mark.TURN_COMMITTED, at)
        builder.evidence["input"] = "typed"
        self._open = _Open(builder, speech_id)

    def reopened(self) -> None:
        """The user goes on before anything was audible: drop the open turn, which is only the beginning of one."""
        if self._open is not None and Mark.FIRST_AUDIBLE not in self._open.builder.marks:
            self._open = None
            self._count -= 1

    def speech_resumed(self, at: float) -> None:
        """The user speaks again. Soon after an end of turn whose answer is audible, that turn was a cut-off."""
        if self._open is not None and Mark.FIRST_AUDIBLE in self._open.builder.marks:
            ended = self._open.builder.marks.get(Mark.SPEECH_ENDED)
            if ended is not None and at - ended <= RESUMED_WITHIN_S:
                self._open.builder.cut_off = True

    def audible(self, at: float) -> None:
        """The first audible sample of the current speech left at ``at`` (monotonic)."""
        speech = self._session.current_speech
        if self._open is None or speech is None:
            return
        if self._open.speech_id is None:
            self._open.speech_id = speech.id
        if self._open.speech_id != speech.id:
            return
        if self._acknowledging == speech.id:
            if self._open.builder.acknowledged is None:
                self._open.builder.acknowledged = at
            return
        self._open.builder.mark(Mark.FIRST_AUDIBLE, at)

    def acknowledging(self, speech_id: str) -> None:
        """The next audio of this speech is an acknowledgement, not the answer."""
        self._acknowledging = speech_id

    def playback_finished(self) -> None:
        """A segment of audio has ended; after an acknowledgement, the next one is the answer."""
        self._acknowledging = None

    @property
    def turn_number(self) -> int:
        """The number of the open turn, or of the last one."""
        return self._count

    @property
    def speech_ended_at(self) -> float | None:
        """When the user's speech of the open turn ended (monotonic); None if no turn is open."""
        return None if self._open is None else self._open.builder.marks.get(Mark.SPEECH_ENDED)

    def gaps(self, count: int, total_ms: float) -> None:
        """The audio of the current reply had ``count`` gaps of ``total_ms`` in all."""
        if self._open is not None:
            self._open.builder.audio_gaps = count
            self._open.builder.audio_gaps_ms = total_ms

    def close(self) -> None:
        """The session has ended: close the open turn as it is."""
        if self._open is not None:
            self._close()

    # --- events of any session ----------------------------------------------------------------------------------------

    def _metrics(self, ev: MetricsCollectedEvent) -> None:
        m = ev.metrics
        if isinstance(m, metrics.EOUMetrics):
            committed = from_wall(m.timestamp, self._clock)
            if self._open is None or (self._open.speech_id not in (None, m.speech_id)):
                if self._open is not None:
                    self._close()
                self._open = _Open(self._new_builder())
                if m.end_of_utterance_delay > 0:  # 0 means unknown
                    ended = committed - m.end_of_utterance_delay
                    self._open.builder.mark(Mark.SPEECH_ENDED, ended)
                    self._open.builder.mark(Mark.TRANSCRIPT_READY, ended + m.transcription_delay)
                self._open.builder.mark(Mark.TURN_COMMITTED, committed)
            self._open.speech_id = m.speech_id
        elif isinstance(m, metrics.LLMMetrics) and m.speech_id:
            trace = self.generation(m.speech_id)
            asked = from_wall(m.timestamp, self._clock) - m.duration
            trace.mark(Mark.LLM_REQUESTED, asked)
            if m.ttft >= 0:
                trace.mark(Mark.LLM_FIRST_CONTENT, asked + m.ttft)
            if m.metadata is not None:
                trace.facts.setdefault("model", m.metadata.model_name)
                trace.facts.setdefault("provider", m.metadata.model_provider)
            trace.facts.setdefault("prompt_tokens", m.prompt_tokens)
            trace.facts.setdefault("completion_tokens", m.completion_tokens)
        elif isinstance(m, metrics.TTSMetrics) and m.speech_id:
            trace = self.generation(m.speech_id)
            started = from_wall(m.timestamp, self._clock) - m.duration
            trace.mark(Mark.CHUNK_READY, started)
            if m.ttfb >= 0:
                trace.mark(Mark.TTS_FIRST_AUDIO, started + m.ttfb)

    def _state(self, ev: AgentStateChangedEvent) -> None:
        if ev.new_state == "speaking":
            self.audible(from_wall(ev.created_at, self._clock))

    def _user(self, ev: UserStateChangedEvent) -> None:
        if ev.new_state == "speaking":
            self.speech_resumed(from_wall(ev.created_at, self._clock))

    def _item(self, ev: ConversationItemAddedEvent) -> None:
        item = ev.item
        if self._open is None or getattr(item, "type", "") != "message":
            return
        text = getattr(item, "text_content", None) or ""
        if getattr(item, "role", "") == "user" and not self._open.builder.user_text:
            self._open.builder.user_text = text
        elif getattr(item, "role", "") == "assistant" and self._open.speech_id is not None:
            self._open.builder.agent_text = f"{self._open.builder.agent_text} {text}".strip()
            self._open.builder.interrupted |= bool(getattr(item, "interrupted", False))

    def _speech(self, ev: SpeechCreatedEvent) -> None:
        ev.speech_handle.add_done_callback(self._speech_done)

    def _error(self, ev: ErrorEvent) -> None:
        error = getattr(ev.error, "error", None)
        if isinstance(error, BaseException):
            self._last_error = error

    def _speech_done(self, handle: SpeechHandle) -> None:
        turn = self._open
        if turn is None or turn.speech_id != handle.id:
            return
        builder = turn.builder
        builder.interrupted |= handle.interrupted
        if Mark.FIRST_AUDIBLE not in builder.marks and not handle.interrupted:
            error = handle.exception() or self._last_error
            builder.fail(error if error is not None else RuntimeError("the reply ended without a sound"))
        self._close()

    # --- closing ------------------------------------------------------------------------------------------------------

    def _new_builder(self) -> TurnBuilder:
        self._count += 1
        return TurnBuilder(self._count)

    def _close(self) -> None:
        turn, self._open = self._open, None
        assert turn is not None
        builder = turn.builder
        played = self._traces.get(turn.speech_id or "")
        if played is not None:
            if isinstance(played.facts.get("simulated"), bool):  # the client reports a bool, the ledger names the part
                played.facts["simulated"] = "language model" if played.facts["simulated"] else ()
            builder.absorb(played)
        builder.models = dataclasses.replace(builder.models, **{k: v for k, v in self._models.items() if v is not None})
        asked = [t for t in self._traces.values() if Mark.LLM_REQUESTED in t.marks]
        wasted = [t for t in asked if t is not played]
        committed = builder.marks.get(Mark.TURN_COMMITTED)
        ahead = (
            played is not None and committed is not None and played.marks.get(Mark.LLM_REQUESTED, committed) < committed
        )
        builder.speculation = Speculation(
            requests=len(asked),
            used=int(ahead),
            thrown_away=len(wasted),
            tokens_wasted=sum(int(_tokens(t)) for t in wasted),
        )
        if self.degraded:
            builder.degradation["degraded"] = list(self.degraded)
        self._traces.clear()
        self._last_error = None
        self._acknowledging = None
        self._on_turn(builder.build())


def _tokens(trace: GenerationTrace) -> float:
    known = trace.facts.get("completion_tokens")
    return float(known if known is not None else trace.facts.get("completion_tokens_estimated") or 0)


def attach(
    session: AgentSession[Any],
    *,
    on_turn: Callable[[Turn], None],
    stt_model: str | None = None,
    voice: str | None = None,
    clock: Clock = SYSTEM,
) -> SessionLedger:
    """Attach a ledger to ``session``: any LiveKit session, before or after its start."""
    return SessionLedger(session, on_turn=on_turn, stt_model=stt_model, voice=voice, clock=clock)
