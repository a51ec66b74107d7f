from __future__ import annotations

from collections.abc import Callable

import pytest

from voice_agent.turn.turn_policy import TurnState
from voice_agent.turn_events import Discard, EndOfTurn, Preflight, Reopen, SpeechStarted

from .driven_policy import (
    DOUBTFUL,
    SURE,
    TEXT,
    UNFINISHED,
    DrivenPolicy,
    W,
    committed,
    configured,
    heard,
    idle,
    paused,
    speaking,
)

S, P, C, IDLE = TurnState.SPEAKING, TurnState.PAUSED, TurnState.COMMITTED, TurnState.IDLE
ROWS: list[tuple[str, Callable[[], DrivenPolicy], Callable[[DrivenPolicy], object], TurnState, list[type]]] = [
    ("one window is not speech", idle, lambda c: c.speech(1), IDLE, []),
    ("clicks are not speech", idle, lambda c: [c.speech(1).hear(1, 0.1) for _ in range(9)], IDLE, []),
    ("speech starts", idle, lambda c: c.speech(2), S, [SpeechStarted]),
    ("speech goes on", speaking, lambda c: c.speech(9), S, []),
    ("a window without speech", speaking, lambda c: c.hear(1, 0.1), P, []),
    ("whole text", speaking, lambda c: c.text(score=SURE), S, [Preflight]),
    ("doubtful text", speaking, lambda c: c.text(score=DOUBTFUL), S, []),
    ("text without a score yet", speaking, lambda c: c.text(), S, []),
    ("the user goes on", paused, lambda c: c.speech(1), S, []),
    ("text covers the speech", paused, lambda c: c.text(score=DOUBTFUL), P, [Preflight]),
    ("the same words again", heard, lambda c: c.text(TEXT.lower().rstrip("?")), P, []),
    ("other words", heard, lambda c: c.text("What is the capital of Spain?", SURE), P, [Preflight]),
    ("text does not cover it", paused, lambda c: c.text(score=SURE, covers_s=c.now_s - 0.5), P, []),
    ("wait over, reply ready", heard, lambda c: c.ready().silence(0.2), C, [EndOfTurn]),
    ("wait over, reply held for", heard, lambda c: c.silence(0.2), P, []),
    ("held long enough", heard, lambda c: c.silence(0.4), C, [EndOfTurn]),
    ("reply ready, wait not over", heard, lambda c: c.ready().silence(0.1), P, []),
    ("the reply to another text", heard, lambda c: c.ready("Who wrote it?").silence(0.2), P, []),
    ("no words", paused, lambda c: c.text("").silence(0.9), IDLE, [Discard]),
    ("a text that never covers", paused, lambda c: c.text(covers_s=0.5).silence(9), IDLE, [Discard]),
    ("the user goes on after the commit", committed, lambda c: c.speech(2), S, [Reopen]),
    ("a click after the commit", committed, lambda c: c.speech(1), C, []),
    ("audible", committed, lambda c: c.audible(), IDLE, []),
    ("too long after the commit", committed, lambda c: c.silence(2.1), IDLE, []),
    ("speech long after the commit", committed, lambda c: c.silence(2.1).speech(2), S, [SpeechStarted]),
    ("speech after audible", committed, lambda c: c.audible().speech(2), S, [SpeechStarted]),
    ("late text", committed, lambda c: c.text("Something else."), C, []),
    ("late score", committed, lambda c: c.score("Something else.", SURE), C, []),
    ("text out of nowhere", idle, lambda c: c.text(score=SURE).ready(), IDLE, []),
    ("audible while the user speaks", speaking, lambda c: c.audible(), S, []),
]  # fmt: skip


@pytest.mark.parametrize(("start", "event", "state", "said"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_the_transition_table(
    start: Callable[[], DrivenPolicy], event: Callable[[DrivenPolicy], object], state: TurnState, said: list[type]
) -> None:
    call = start()
    before = len(call.said)
    event(call)
    assert call.policy.state is state
    assert [type(d) for d in call.said[before:]] == said


def test_the_table_visits_every_state_and_decision() -> None:
    assert {row[3] for row in ROWS} == set(TurnState)
    assert {kind for row in ROWS for kind in row[4]} == {SpeechStarted, Preflight, EndOfTurn, Reopen, Discard}


class TestDecisions:
    def test_speech_started_at_the_start_of_its_first_window(self) -> None:
        call = DrivenPolicy(configured(start_windows=3)).hear(10, 0.1).speech(3)
        (started,) = call.said
        assert isinstance(started, SpeechStarted)
        assert started.at_s == pytest.approx(10 * W)

    def test_a_preflight_says_whether_the_user_still_speaks(self) -> None:
        early, late = speaking().text(score=SURE), paused().text(score=SURE)
        assert early.said[-1] == Preflight(TEXT, early=True)
        assert late.said[-1] == Preflight(TEXT, early=False)

    def test_no_second_preflight_on_the_same_words(self) -> None:
        call = speaking().text(score=SURE).speech(5).hear(1, 0.1).text("what is the capital of france").silence(0.4)
        assert call.of(Preflight) == [Preflight(TEXT, early=True)]
        assert call.policy.state is TurnState.COMMITTED

    def test_other_settings_hold_from_when_they_are_given(self) -> None:
        call = speaking()
        call.policy.configure(configured(max_early_preflights=0))
        call.text(score=SURE).speech(5)
        assert call.of(Preflight) == []
        call.policy.configure(configured())
        call.text(score=SURE)
        assert call.of(Preflight) == [Preflight(TEXT, early=True)]

    def test_another_ending_of_the_last_word_is_another_text(self) -> None:
        first, second = "Connect me to my call.", "Connect me to my calls."
        call = speaking().text(first, SURE).speech(5).hear(1, 0.1)
        call.text(second).ready(first).text(second, SURE).silence(0.3)
        assert call.of(Preflight) == [Preflight(first, early=True), Preflight(second, early=False)]
        commit = call.commit()
        assert (commit.text, commit.reason) == (second, "held long enough")

    def test_the_commit_has_its_evidence(self) -> None:
        call = heard()
        call.ready().silence(0.3)
        commit = call.commit()
        assert (commit.text, commit.score) == (TEXT, SURE)
        assert commit.speech_ended_s == pytest.approx(call.speech_ended_s)
        assert commit.wait_s == pytest.approx(0.2)
        assert commit.wait_s <= commit.waited_s < commit.wait_s + W + 1e-9

    def test_a_reply_that_is_not_ready_is_held_for_so_long_and_no_longer(self) -> None:
        commit = heard().silence(1.0).commit()
        assert commit.wait_s == pytest.approx(0.2)
        assert commit.wait_s + 0.1 <= commit.waited_s < commit.wait_s + 0.1 + W + 1e-9

    def test_a_ready_reply_ends_the_hold_between_windows(self) -> None:
        call = heard().silence(0.24)
        assert not call.of(EndOfTurn)
        call.ready()
        assert call.commit().text == TEXT

    def test_the_text_after_the_pause_is_the_one_committed(self) -> None:
        call = paused().text("What is the", UNFINISHED).speech(10).hear(1, 0.1).text(score=SURE).ready().silence(0.3)
        assert call.commit().text == TEXT

    def test_a_reopened_turn_has_both_texts(self) -> None:
        call = committed().speech(20).hear(1, 0.1)
        call.text("And of Spain?", None)
        whole = f"{TEXT} And of Spain?"
        assert call.policy.present_text == whole
        call.score(whole, SURE).ready(whole).silence(0.3)
        assert [d.text for d in call.said if isinstance(d, EndOfTurn | Reopen)] == [TEXT, TEXT, whole]

    def test_a_turn_reopens_as_often_as_it_takes(self) -> None:
        call = committed().speech(20).hear(1, 0.1).text("And of Spain?").silence(1.0)
        call.speech(20).hear(1, 0.1).text("Please.").silence(1.0)
        last = call.of(EndOfTurn)[-1]
        assert isinstance(last, EndOfTurn)
        assert last.text == f"{TEXT} And of Spain? Please."

    def test_a_cough_after_the_commit_commits_the_same_words_again(self) -> None:
        call = committed().speech(5).hear(1, 0.1).text("").silence(1.0)
        assert [type(d) for d in call.said if not isinstance(d, Preflight)] == [
            SpeechStarted,
            EndOfTurn,
            Reopen,
            EndOfTurn,
        ]
        last = call.of(EndOfTurn)[-1]
        assert isinstance(last, EndOfTurn)
        assert last.text == TEXT

    def test_the_next_turn_knows_nothing_of_the_last(self) -> None:
        call = committed().audible().speech(20).hear(1, 0.1)
        assert call.policy.present_text == ""
        call.text("Who wrote it?", SURE).ready("Who wrote it?").silence(0.3)
        last = call.of(EndOfTurn)[-1]
        assert isinstance(last, EndOfTurn)
        assert last.text == "Who wrote it?"

    def test_a_score_of_another_turn_does_not_count(self) -> None:
        call = committed().audible().speech(20).hear(1, 0.1).text()
        assert call.policy.wait_s() == pytest.approx(0.6)  # the same words, but without a score in this turn
