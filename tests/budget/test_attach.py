"""The ledger on a session with the stages of this package."""

from __future__ import annotations

import pytest

from voice_agent.budget import Failure, Mark, Speculation
from voice_agent.budget.attach import RESUMED_WITHIN_S
from voice_agent.errors import ProviderUnavailableError

from .session import Session, answered, commit_as, speaking


class TestOurStages:
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
        session.fire("agent_state_changed", speaking(103.0))
        session.done(handle)
        assert session.turns[0].marks[Mark.FIRST_AUDIBLE] == 102.3

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
        session.item("user", "not this: the STT has reported it")
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
        commit_as(session, "s1")
        session.error(ProviderUnavailableError("the provider answered 500; try again later"))
        session.done(handle)
        (turn,) = session.turns
        assert turn.error == Failure("ProviderUnavailableError", "the provider answered 500; try again later")
        assert not turn.answered
        assert turn.voice_to_voice_ms is None

    def test_the_exception_of_the_speech_itself(self, session: Session) -> None:
        handle = session.speech("s1")
        commit_as(session, "s1")
        handle.error = ValueError("no voice")
        session.done(handle)
        assert session.turns[0].error == Failure("ValueError", "no voice")

    def test_silence_without_a_reason_is_a_failure_too(self, session: Session) -> None:
        handle = session.speech("s1")
        commit_as(session, "s1")
        session.done(handle)
        error = session.turns[0].error
        assert error is not None
        assert "without a sound" in error.message

    def test_a_failure_does_not_stick_to_the_next_turn(self, session: Session) -> None:
        handle = session.speech("s1")
        commit_as(session, "s1")
        session.error(ProviderUnavailableError("500"))
        session.done(handle)
        answered(session, "s2", ended=104.0, at=104.2, audible=104.3)
        assert [t.error is None for t in session.turns] == [False, True]

    def test_an_error_on_the_way_to_a_good_answer_is_no_failure(self, session: Session) -> None:
        session.error(ProviderUnavailableError("500, retried"))
        answered(session, "s1", ended=102.0, at=102.2, audible=102.9)
        assert session.turns[0].error is None


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
