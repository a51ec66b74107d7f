"""How events change what stands on the screen, and what is printed for good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from voice_agent.budget.ledger import Turn
from voice_agent.budget.turn_verdict import Budget
from voice_agent.talk.events import (
    AgentFinished,
    AgentWords,
    CallStatus,
    Ended,
    Event,
    Muted,
    Note,
    Progress,
    Ready,
    ShowLedger,
    SoundLevel,
    TurnDone,
    Typing,
    UserWords,
)
from voice_agent.talk.screen_state import Entry, Follower, LedgerEntry, NoteEntry, SpeechEntry, TurnEntry

MakeTurn = Callable[..., Turn]
READY = Ready("m", "p", "tiny.en", "joe")
ASKED = "What time is it?"


def follow(*events: Event) -> tuple[Follower, list[Entry]]:
    follower = Follower(Budget())
    return follower, [entry for event in events for entry in follower.take(event)]


def test_setting_up_then_ready() -> None:
    follower, entries = follow(Progress("loading"))
    follower.tick()
    assert (follower.state.progress, follower.state.ticks) == ("loading", 1)
    entries += follower.take(READY)
    follower.tick()
    assert (follower.state.progress, follower.state.ready, follower.state.ticks) == (None, READY, 1)
    assert entries == []


def test_a_turn_from_the_first_word_to_its_line(make_turn: MakeTurn) -> None:
    turn = make_turn(1)
    follower, entries = follow(
        CallStatus("hearing"), UserWords("What", False), UserWords(ASKED, True), CallStatus("speaking")
    )
    assert (follower.state.user_text, follower.state.user_final) == (ASKED, True)
    follower.take(AgentWords("It is "))
    follower.take(AgentWords("nine in the evening."))
    assert follower.state.agent_text == "It is nine in the evening."
    assert follower.take(AgentFinished()) == []  # the turn brings the words
    entries = follower.take(TurnDone(turn))
    assert [type(entry) for entry in entries] == [TurnEntry]
    assert isinstance(entries[0], TurnEntry)
    assert entries[0].first
    assert (follower.state.user_text, follower.state.agent_text) == ("", "")
    assert follower.state.summary.turns == 1


def test_words_that_come_after_their_turn_are_not_said_again(make_turn: MakeTurn) -> None:
    follower, entries = follow(
        UserWords(ASKED, True),
        AgentWords("It is "),
        TurnDone(make_turn(1)),
        AgentWords("nine."),
        AgentFinished(),
        AgentFinished(),
    )
    assert [type(entry) for entry in entries] == [TurnEntry]
    assert follower.state.agent_text == ""


def test_speech_that_answers_no_turn_is_kept(make_turn: MakeTurn) -> None:
    _, entries = follow(
        AgentWords("Hello "), AgentWords("there."), AgentFinished(), UserWords(ASKED, True), TurnDone(make_turn(1))
    )
    assert entries[0] == SpeechEntry("Hello there.")
    _, entries = follow(UserWords(ASKED, True), TurnDone(make_turn(1)), AgentWords("Sorry."), AgentFinished())
    assert entries[-1] == SpeechEntry("Sorry.")


def test_the_next_turns_words_stay_when_the_old_turn_closes(make_turn: MakeTurn) -> None:
    follower, _ = follow(UserWords(ASKED, True), AgentWords("It"), UserWords("No, in", False), TurnDone(make_turn(1)))
    assert (follower.state.user_text, follower.state.user_final) == ("No, in", False)
    follower, _ = follow(UserWords(ASKED, True), UserWords("No, in Oslo.", True), TurnDone(make_turn(1)))
    assert follower.state.user_text == "No, in Oslo."
    assert follower.take(AgentFinished()) == []
    follower.take(AgentWords("Eight."))
    assert follower.take(AgentFinished()) == []  # it answers the second turn, which is open
    follower.take(TurnDone(make_turn(2, user_text="No, in Oslo.")))
    assert follower.state.user_text == ""


def test_sound_without_words_leaves_nothing() -> None:
    follower, entries = follow(UserWords("uh", False), UserWords("", False))
    assert (follower.state.user_text, entries) == ("", [])


def test_the_rest() -> None:
    follower, entries = follow(
        Muted(True), SoundLevel(-20.0, 1, 2), Typing("so"), Note("one"), ShowLedger(), Ended("quit")
    )
    state = follower.state
    assert (state.muted, state.level_dbfs, state.input_xruns, state.output_xruns) == (True, -20.0, 1, 2)
    assert state.typing == "so"
    assert entries == [NoteEntry("one"), LedgerEntry(None)]


def test_the_ledger_is_that_of_the_last_turn(make_turn: MakeTurn) -> None:
    second = make_turn(2)
    _, entries = follow(TurnDone(make_turn(1)), TurnDone(second), ShowLedger())
    assert entries[-1] == LedgerEntry(second)


@pytest.mark.parametrize("ms", [None, 250.0])
def test_a_typed_turn_has_no_voice_to_voice_time(make_typed_turn: MakeTurn, ms: float | None) -> None:
    follower, entries = follow(UserWords("hello by hand", True, typed=True), TurnDone(make_typed_turn(1, ms)))
    assert follower.state.summary.voice_to_voice is None
    assert isinstance(entries[0], TurnEntry)
    assert entries[0].verdict.over is None
