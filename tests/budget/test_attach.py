"""The ledger on a session: a small double of AgentSession's events, played in the order in which LiveKit fires them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from livekit.agents import metrics
from livekit.agents.llm import ChatMessage
from livekit.agents.metrics import EOUMetrics, LLMMetrics, TTSMetrics
from livekit.agents.metrics.base import Metadata
from livekit.agents.voice import (
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    MetricsCollectedEvent,
    SpeechCreatedEvent,
)

from voice_agent.budget import Failure, Mark, Speculation, Turn
from voice_agent.budget.attach import RESUMED_WITHIN_S, SessionLedger, attach
from voice_agent.clock import ManualClock
from voice_agent.errors import ProviderUnavailableError
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
        commit = EndOfTurn(text, ended, at - ended, 0.16, -0.5, None, "reply ready")
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


@pytest.fixture
def session() -> Session:
    return Session()


class TestOurOwnRoad:
    def test_a_turn(self, session: Session) -> None:
        session.generation("s1", 101.9)
        answered(session, "s1", ended=102.0, at=102.2, audible=102.25)
        (turn,) = session.turns
        assert (turn.id, turn.user_text, turn.agent_text) == (1, "Who wrote it?", "Jane Austen.")
        assert turn.marks == {
            Mark.SPEECH_ENDED: 102.0, Mark.TRANSCRIPT_READY: 101.9, Mark.LLM_REQUESTED: 101.9,
            Mark.LLM_FIRST_CONTENT: 101.9 + 0.17, Mark.CHUNK_READY: 101.9 + 0.18, Mark.TTS_FIRST_AUDIO: 101.9 + 0.25,
            Mark.TURN_COMMITTED: 102.2, Mark.FIRST_AUDIBLE: 102.25,
        }  # fmt: skip
        assert turn.voice_to_voice_ms == pytest.approx(250)
        assert (turn.models.provider, turn.models.model) == ("p", "m")
        assert (turn.models.stt_model, turn.models.voice) == ("tiny.en", "joe")
        assert turn.evidence["completeness"] == -0.5
        assert turn.error is None
        assert [turn.interrupted, turn.cut_off, turn.reopened] == [False] * 3

    def test_the_turns_of_a_session_are_numbered(self, session: Session) -> None:
        for i in range(3):
            answered(session, f"s{i}", ended=102.0 + i, at=102.2 + i, audible=102.3 + i)
        assert [t.id for t in session.turns] == [1, 2, 3]

    def test_a_turn_that_nobody_answered_closes_with_the_next(self, session: Session) -> None:
        session.committed("Hello?", ended=102.0, at=102.2)
        answered(session, "s1", ended=104.0, at=104.2, audible=104.3)
        first, second = session.turns
        assert (first.user_text, first.answered) == ("Hello?", False)
        assert second.answered

    def test_the_end_of_the_session_closes_the_last_turn_once(self, session: Session) -> None:
        session.committed(ended=102.0, at=102.2)
        session.ledger.close()
        session.ledger.close()
        assert len(session.turns) == 1

    def test_the_first_audible_sample_counts(self, session: Session) -> None:
        handle = session.speech("s1")
        session.committed(ended=102.0, at=102.2)
        session.plays(handle)
        session.ledger.audible(102.3)
        session.ledger.audible(102.9)
        session.fire("agent_state_changed", self.speaking(103.0))
        session.done(handle)
        assert session.turns[0].marks[Mark.FIRST_AUDIBLE] == 102.3

    @staticmethod
    def speaking(at: float) -> AgentStateChangedEvent:
        return AgentStateChangedEvent(old_state="thinking", new_state="speaking", created_at=at + WALL_AHEAD_S)

    def test_a_sound_of_another_speech_is_not_the_answer(self, session: Session) -> None:
        handle = session.speech("s1")
        session.committed(ended=102.0, at=102.2)
        session.plays(handle)
        session.ledger.audible(102.3)
        filler = session.speech("other")
        session.plays(filler)
        session.ledger.audible(102.1)
        session.done(filler)
        assert session.turns == []  # the end of another speech is not the end of the turn
        session.done(handle)
        assert session.turns[0].marks[Mark.FIRST_AUDIBLE] == 102.3

    def test_a_greeting_is_no_turn(self, session: Session) -> None:
        greeting = session.speech("hello")
        session.plays(greeting)
        session.ledger.audible(100.5)
        session.ledger.gaps(1, 20.0)
        session.item("assistant", "Hello!")
        session.done(greeting)
        assert session.turns == []

    def test_gaps(self, session: Session) -> None:
        handle = session.speech("s1")
        session.committed(ended=102.0, at=102.2)
        session.plays(handle)
        session.ledger.audible(102.3)
        session.ledger.gaps(2, 35.0)
        session.done(handle)
        assert (session.turns[0].audio_gaps, session.turns[0].audio_gaps_ms) == (2, 35.0)

    def test_interrupted(self, session: Session) -> None:
        handle = session.speech("s1")
        session.committed(ended=102.0, at=102.2)
        session.plays(handle)
        session.ledger.audible(102.3)
        session.item("assistant", "Jane", interrupted=True)
        handle.interrupted = True
        session.done(handle)
        (turn,) = session.turns
        assert turn.interrupted
        assert turn.error is None
        assert turn.agent_text == "Jane"

    def test_an_answer_in_several_messages(self, session: Session) -> None:
        handle = session.speech("s1")
        session.committed(ended=102.0, at=102.2)
        session.plays(handle)
        session.ledger.audible(102.3)
        session.item("user", "not this: the ears have said it")
        session.item("assistant", "Let me look.")
        session.item("assistant", "Jane Austen.")
        session.done(handle)
        assert session.turns[0].agent_text == "Let me look. Jane Austen."
        assert session.turns[0].user_text == "Who wrote it?"

    @pytest.mark.parametrize(("after_s", "cut_off"), [(0.5, True), (RESUMED_WITHIN_S + 0.1, False)])
    def test_speech_soon_after_an_end_that_is_being_answered_was_cut_off(
        self, session: Session, after_s: float, cut_off: bool
    ) -> None:
        handle = session.speech("s1")
        session.committed(ended=102.0, at=102.2)
        session.plays(handle)
        session.ledger.audible(102.3)
        session.ledger.speech_resumed(102.0 + after_s)
        session.done(handle)
        assert session.turns[0].cut_off is cut_off

    def test_speech_before_anything_is_audible_is_no_cut_off(self, session: Session) -> None:
        handle = session.speech("s1")
        session.committed(ended=102.0, at=102.2)
        session.ledger.speech_resumed(102.3)
        session.plays(handle)
        session.ledger.audible(104.0)
        session.done(handle)
        assert not session.turns[0].cut_off


class TestReopened:
    def test_it_replaces_its_beginning(self, session: Session) -> None:
        session.committed("Who wrote", ended=102.0, at=102.2)
        session.ledger.reopened()
        session.committed("Who wrote it?", ended=103.0, at=103.2, reopened=True)
        handle = session.speech("s2")
        session.plays(handle)
        session.ledger.audible(103.3)
        session.done(handle)
        (turn,) = session.turns
        assert (turn.id, turn.user_text, turn.reopened) == (1, "Who wrote it?", True)
        assert turn.voice_to_voice_ms == pytest.approx(300)
        answered(session, "s3", ended=106.0, at=106.2, audible=106.3)
        assert (session.turns[1].id, session.turns[1].reopened) == (2, False)

    def test_what_its_beginning_had_asked_for_was_wasted(self, session: Session) -> None:
        session.generation("s1", 101.9, tokens=7)
        session.committed("Who wrote", ended=102.0, at=102.2)
        session.ledger.reopened()
        session.generation("s2", 103.1)
        session.committed("Who wrote it?", ended=103.0, at=103.2, reopened=True)
        handle = session.speech("s2")
        session.plays(handle)
        session.ledger.audible(103.4)
        session.done(handle)
        assert session.turns[0].speculation == Speculation(requests=2, used=1, thrown_away=1, tokens_wasted=7)


class TestFailed:
    def test_a_reply_that_never_came(self, session: Session) -> None:
        handle = session.speech("s1")
        self.commit_as(session, "s1")
        session.error(ProviderUnavailableError("the provider answered 500; try again later"))
        session.done(handle)
        (turn,) = session.turns
        assert turn.error == Failure("ProviderUnavailableError", "the provider answered 500; try again later")
        assert not turn.answered
        assert turn.voice_to_voice_ms is None

    def test_the_exception_of_the_speech_itself(self, session: Session) -> None:
        handle = session.speech("s1")
        self.commit_as(session, "s1")
        handle.error = ValueError("no voice")
        session.done(handle)
        assert session.turns[0].error == Failure("ValueError", "no voice")

    def test_silence_without_a_reason_is_a_failure_too(self, session: Session) -> None:
        handle = session.speech("s1")
        self.commit_as(session, "s1")
        session.done(handle)
        error = session.turns[0].error
        assert error is not None
        assert "without a sound" in error.message

    def test_a_failure_does_not_stick_to_the_next_turn(self, session: Session) -> None:
        handle = session.speech("s1")
        self.commit_as(session, "s1")
        session.error(ProviderUnavailableError("500"))
        session.done(handle)
        answered(session, "s2", ended=104.0, at=104.2, audible=104.3)
        assert [t.error is None for t in session.turns] == [False, True]

    def test_an_error_on_the_way_to_a_good_answer_is_no_failure(self, session: Session) -> None:
        session.error(ProviderUnavailableError("500, retried"))
        answered(session, "s1", ended=102.0, at=102.2, audible=102.9)
        assert session.turns[0].error is None

    @staticmethod
    def commit_as(session: Session, speech_id: str) -> None:
        session.committed(ended=102.0, at=102.2)
        session.metrics(
            EOUMetrics(
                timestamp=102.2 + WALL_AHEAD_S, end_of_utterance_delay=0.2, transcription_delay=0.1,
                on_user_turn_completed_delay=0.0, speech_id=speech_id,
            )
        )  # fmt: skip


class TestSpeculation:
    def test_asked_ahead_and_played(self, session: Session) -> None:
        session.generation("s0", 101.0, tokens=12)
        session.generation("s1", 101.5, tokens=3)
        session.generation("s2", 101.9, tokens=40)
        answered(session, "s2", ended=102.0, at=102.2, audible=102.3)
        assert session.turns[0].speculation == Speculation(requests=3, used=1, thrown_away=2, tokens_wasted=15)
        assert session.turns[0].lead_ms == pytest.approx(300)

    def test_asked_after_the_commit(self, session: Session) -> None:
        session.generation("s1", 102.21)
        answered(session, "s1", ended=102.0, at=102.2, audible=102.7)
        assert session.turns[0].speculation == Speculation(requests=1)

    def test_estimated_tokens_count_where_the_provider_gave_none(self, session: Session) -> None:
        trace = session.ledger.generation("s0")
        trace.mark(Mark.LLM_REQUESTED, 101.0)
        trace.fact(completion_tokens_estimated=9)
        session.generation("s1", 101.9)
        answered(session, "s1", ended=102.0, at=102.2, audible=102.3)
        assert session.turns[0].speculation.tokens_wasted == 9

    def test_each_turn_counts_its_own(self, session: Session) -> None:
        session.generation("s0", 101.0)
        session.generation("s1", 101.9)
        answered(session, "s1", ended=102.0, at=102.2, audible=102.3)
        session.generation("s2", 103.9)
        answered(session, "s2", ended=104.0, at=104.2, audible=104.3)
        assert [t.speculation.requests for t in session.turns] == [2, 1]

    def test_what_is_simulated_is_labelled(self, session: Session) -> None:
        session.generation("s1", 101.9)
        session.ledger.generation("s1").fact(simulated=True)
        answered(session, "s1", ended=102.0, at=102.2, audible=102.3)
        session.generation("s2", 103.9)
        session.ledger.generation("s2").fact(simulated=False)
        answered(session, "s2", ended=104.0, at=104.2, audible=104.3)
        assert [t.simulated for t in session.turns] == [("language model",), ()]


class TestAnySession:
    """LiveKit's own parts: only the public events are there, in calendar time."""

    def play(self, session: Session, speech_id: str, at: float) -> None:
        """Commit at ``at`` s, 400 ms after the end of speech; audible 700 ms after the commit."""
        handle = session.speech(speech_id)
        session.metrics(
            EOUMetrics(
                timestamp=at + WALL_AHEAD_S, end_of_utterance_delay=0.4, transcription_delay=0.15,
                on_user_turn_completed_delay=0.0, speech_id=speech_id,
            )
        )  # fmt: skip
        session.item("user", "What is the weather like?")
        session.metrics(
            LLMMetrics(
                label="l", request_id="r", timestamp=at + 0.9 + WALL_AHEAD_S, duration=0.8, ttft=0.3, cancelled=False,
                completion_tokens=25, prompt_tokens=80, prompt_cached_tokens=0, total_tokens=105, tokens_per_second=50,
                speech_id=speech_id, metadata=Metadata(model_name="gpt", model_provider="openai"),
            )
        )  # fmt: skip
        session.metrics(
            TTSMetrics(
                label="t", request_id="r", timestamp=at + 1.5 + WALL_AHEAD_S, ttfb=0.2, duration=1.0,
                audio_duration=2.0, cancelled=False, characters_count=40, streamed=True, speech_id=speech_id,
            )
        )  # fmt: skip
        session.plays(handle)
        session.fire("agent_state_changed", TestOurOwnRoad.speaking(at + 0.7))
        session.item("assistant", "Sunny.")
        session.done(handle)

    def test_a_turn_from_its_metrics(self, session: Session) -> None:
        session.clock.advance(20.0)  # the events are looked at later than they happened
        self.play(session, "s1", 110.0)
        (turn,) = session.turns
        expected = {
            Mark.SPEECH_ENDED: 109.6, Mark.TRANSCRIPT_READY: 109.75, Mark.TURN_COMMITTED: 110.0,
            Mark.LLM_REQUESTED: 110.1, Mark.LLM_FIRST_CONTENT: 110.4, Mark.CHUNK_READY: 110.5,
            Mark.TTS_FIRST_AUDIO: 110.7, Mark.FIRST_AUDIBLE: 110.7,
        }  # fmt: skip
        for mark, at in expected.items():
            assert turn.marks[mark] == pytest.approx(at, abs=1e-6), mark
        assert turn.voice_to_voice_ms == pytest.approx(1100, abs=0.01)
        assert (turn.user_text, turn.agent_text) == ("What is the weather like?", "Sunny.")
        assert (turn.models.model, turn.models.provider) == ("gpt", "openai")
        assert (turn.usage.prompt_tokens, turn.usage.completion_tokens) == (80, 25)
        assert turn.speculation == Speculation(requests=1)
        assert sum(turn.spans_ms.values()) == pytest.approx(1100, abs=0.01)

    def test_one_turn_after_the_other(self, session: Session) -> None:
        session.clock.advance(60.0)
        for i in range(3):
            self.play(session, f"s{i}", 110.0 + 10 * i)
        assert [t.id for t in session.turns] == [1, 2, 3]
        assert [t.voice_to_voice_ms for t in session.turns] == [pytest.approx(1100, abs=0.01)] * 3

    def test_a_model_that_said_nothing_has_no_first_content(self, session: Session) -> None:
        session.clock.advance(20.0)
        handle = session.speech("s1")
        TestFailed.commit_as(session, "s1")
        session.metrics(
            LLMMetrics(
                label="l", request_id="r", timestamp=103.0 + WALL_AHEAD_S, duration=0.8, ttft=-1, cancelled=True,
                completion_tokens=0, prompt_tokens=80, prompt_cached_tokens=0, total_tokens=80, tokens_per_second=0,
                speech_id="s1",
            )
        )  # fmt: skip
        session.done(handle)
        assert session.turns[0].marks[Mark.LLM_FIRST_CONTENT] is None
        assert session.turns[0].marks[Mark.LLM_REQUESTED] == pytest.approx(102.2, abs=1e-6)

    def test_the_exact_source_comes_first(self, session: Session) -> None:
        TestFailed.commit_as(session, "s1")  # the ears' view, then LiveKit's, whose transcript came 0.2 s later
        session.generation("s1", 102.0)
        handle = session.speech("s1")
        session.plays(handle)
        session.ledger.audible(102.5)
        session.done(handle)
        (turn,) = session.turns
        assert turn.marks[Mark.TRANSCRIPT_READY] == pytest.approx(101.9)
