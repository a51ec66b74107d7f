"""What a user hears when a turn failed or was not understood, and how a reopened turn's reply is undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from livekit.agents import Agent, AgentSession, llm, utils
from livekit.agents.voice import ErrorEvent, UserInputTranscribedEvent, UserStateChangedEvent

from voice_agent.budget.ledger import Mark, Turn, TurnBuilder
from voice_agent.pipeline.apologies import Apologies
from voice_agent.pipeline.undo_reply import undo_reply
from voice_agent.stt import FastWhisperSTT

SORRY = "Sorry, could you say that again?"


class Session(utils.EventEmitter[str]):
    """The events of a session, and what it was told to say."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, bool]] = []
        self.closing = False

    def say(self, text: str, *, add_to_chat_ctx: bool) -> None:
        if self.closing:
            raise RuntimeError("AgentSession is closing")
        self.said.append((text, add_to_chat_ctx))


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def apologies(session: Session) -> Apologies:
    return Apologies(cast("AgentSession[Any]", session), SORRY)


def turn(*, failed: bool, audible: bool) -> Turn:
    builder = TurnBuilder(1)
    builder.mark(Mark.SPEECH_ENDED, 1.0)
    if audible:
        builder.mark(Mark.FIRST_AUDIBLE, 2.0)
    if failed:
        builder.fail(TimeoutError("no answer"))
    return builder.build()


def test_a_turn_that_failed_in_silence_is_apologised_for(session: Session, apologies: Apologies) -> None:
    apologies.turn_closed(turn(failed=False, audible=True))
    apologies.turn_closed(turn(failed=True, audible=True))
    assert session.said == []
    apologies.turn_closed(turn(failed=True, audible=False))
    assert session.said == [(SORRY, False)], "and it is not put into the history"


def test_a_session_that_closes_is_left_alone(session: Session, apologies: Apologies) -> None:
    session.closing = True
    apologies.turn_closed(turn(failed=True, audible=False))
    assert session.said == []


def stt_error(session: Session) -> None:
    source = FastWhisperSTT.__new__(FastWhisperSTT)  # an STT: no model is needed to be one
    session.emit("error", ErrorEvent.model_construct(error=RuntimeError("a pass failed"), source=source))


def transcript(session: Session) -> None:
    session.emit("user_input_transcribed", UserInputTranscribedEvent(transcript="hello", is_final=True))


def speech_ends(session: Session) -> None:
    session.emit("user_state_changed", UserStateChangedEvent(old_state="speaking", new_state="listening"))


@pytest.mark.parametrize(
    ("events", "apologies_made"),
    [
        ((speech_ends,), 0),
        ((stt_error,), 0),
        ((stt_error, speech_ends), 1),
        ((stt_error, speech_ends, speech_ends), 1),
        ((stt_error, transcript, speech_ends), 0),
    ],
)
def test_speech_lost_by_the_stt_is_apologised_for_when_it_ends(
    session: Session, apologies: Apologies, events: tuple[Callable[[Session], None], ...], apologies_made: int
) -> None:
    for event in events:
        event(session)
    assert len(session.said) == apologies_made


@pytest.mark.parametrize(("reopened", "left"), [("And then?", ["Hello."]), ("Hello.", ["Hello.", "And then?"])])
async def test_the_question_of_an_undone_reply_leaves_the_history(reopened: str, left: list[str]) -> None:
    history = llm.ChatContext.empty()
    for text in ("Hello.", "And then?"):
        history.add_message(role="user", content=text)
    agent = Agent(instructions="Help.", chat_ctx=history)
    await undo_reply(agent, None, reopened)
    assert [m.text_content for m in agent.chat_ctx.messages() if m.role == "user"] == left
