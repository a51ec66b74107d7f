"""A typed line's row in the ledger."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from livekit import rtc

from voice_agent.budget.attach import SessionLedger
from voice_agent.budget.ledger import Mark, Turn
from voice_agent.clock import ManualClock


class Session(rtc.EventEmitter[str]):
    """What the ledger needs of a session."""

    def __init__(self) -> None:
        super().__init__()
        self.current_speech: Any = None


def test_a_typed_line_gets_a_row() -> None:
    turns: list[Turn] = []
    session, clock = Session(), ManualClock(10.0)
    ledger = SessionLedger(session, on_turn=turns.append, clock=clock)  # type: ignore[arg-type]
    session.current_speech = SimpleNamespace(id="s1")
    ledger.typed("by hand", 10.0, "s1")
    ledger.audible(10.4)
    ledger.typed("again", 12.0, "s2")  # closes the first
    ledger.close()
    first, second = turns
    assert (first.user_text, first.typed, first.voice_to_voice_ms) == ("by hand", True, None)
    assert first.after_enter_ms is not None
    assert round(first.after_enter_ms) == 400
    assert first.marks[Mark.SPEECH_ENDED] is None
    assert (second.id, second.after_enter_ms, second.answered) == (2, None, False)


def test_another_speech_is_not_its_answer() -> None:
    turns: list[Turn] = []
    session = Session()
    ledger = SessionLedger(session, on_turn=turns.append, clock=ManualClock(10.0))  # type: ignore[arg-type]
    session.current_speech = SimpleNamespace(id="old")
    ledger.typed("by hand", 10.0, "new")
    ledger.audible(10.1)
    ledger.close()
    assert not turns[0].answered


def test_a_spoken_turn_has_no_time_from_enter(make_turn: Any) -> None:
    turn = make_turn(1)
    assert (turn.typed, turn.after_enter_ms) == (False, None)
