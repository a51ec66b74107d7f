"""The ledger on a session with LiveKit's own plugins: only public events, in calendar time."""

from __future__ import annotations

import pytest
from livekit.agents.metrics import EOUMetrics, LLMMetrics, TTSMetrics
from livekit.agents.metrics.base import Metadata

from voice_agent.budget import Mark, Speculation

from .session import WALL_AHEAD_S, Session, commit_as, speaking


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
        session.fire("agent_state_changed", speaking(at + 0.7))
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
        commit_as(session, "s1")
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
        commit_as(session, "s1")  # the STT's report, then LiveKit's, whose transcript came 0.2 s later
        session.generation("s1", 102.0)
        handle = session.speech("s1")
        session.plays(handle)
        session.ledger.audible(102.5)
        session.done(handle)
        (turn,) = session.turns
        assert turn.marks[Mark.TRANSCRIPT_READY] == pytest.approx(101.9)
