"""How the time between the two sounds is cut up: typical turns by table, all others by property."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.budget.path import NS_PER_MS, Mark, Stage, critical_path, hidden_ns, spans_ns, to_ns

SERIAL: dict[str, float] = {  # nothing is done ahead: the request waits for the commit
    "speech_ended": 0, "transcript_ready": 80, "turn_committed": 250, "llm_requested": 252, "llm_first_content": 422,
    "chunk_ready": 440, "tts_first_audio": 490, "first_audible": 505,
}  # fmt: skip
AHEAD: dict[str, float] = {  # everything is ready before the user has even finished: the wait is all there is
    "transcript_ready": -300, "llm_requested": -280, "llm_first_content": -110, "chunk_ready": -100,
    "tts_first_audio": -50, "speech_ended": 0, "turn_committed": 200, "first_audible": 215,
}  # fmt: skip
IN_THE_WAIT: dict[str, float] = {  # asked at the pause, ready before the commit: the commit adds only its remainder
    "speech_ended": 0, "transcript_ready": 60, "llm_requested": 62, "llm_first_content": 162, "chunk_ready": 170,
    "tts_first_audio": 200, "turn_committed": 250, "first_audible": 262,
}  # fmt: skip
LATE = IN_THE_WAIT | {  # asked at the pause, but the model is slow: the commit is not the gate
    "llm_first_content": 562, "chunk_ready": 570, "tts_first_audio": 600, "first_audible": 612,
}  # fmt: skip
STRADDLING = IN_THE_WAIT | {"transcript_ready": -150, "llm_requested": -100}  # the model works across the last sound


def without(marks: dict[str, float], *names: str) -> dict[str, float]:
    return {name: at for name, at in marks.items() if name not in names}


SHAPES = {
    "serial": (SERIAL, dict(stt=80, endpointing=170, dispatch=2, llm=170, chunk=18, tts=50, output=15), {}),
    "all ahead": (
        AHEAD,
        dict(stt=0, dispatch=0, llm=0, chunk=0, tts=0, endpointing=200, output=15),
        dict(dispatch=20, llm=170, chunk=10, tts=50),
    ),
    "in the wait": (IN_THE_WAIT, dict(stt=60, dispatch=2, llm=100, chunk=8, tts=30, endpointing=50, output=12), {}),
    "late": (LATE, dict(stt=60, dispatch=2, llm=500, chunk=8, tts=30, endpointing=0, output=12), {}),
    "straddling": (
        STRADDLING,
        dict(stt=0, dispatch=0, llm=162, chunk=8, tts=30, endpointing=50, output=12),
        dict(dispatch=50, llm=100),
    ),
    "serial, with the text there before the end: waiting is no hidden work": (
        SERIAL | {"transcript_ready": -100},
        dict(stt=0, endpointing=250, dispatch=2, llm=170, chunk=18, tts=50, output=15),
        {},
    ),
    # A transcript that came after the request was not what the reply was made from, and is passed over.
    "asked on an interim text during speech": (
        IN_THE_WAIT | {"llm_requested": -40},
        dict(llm=162, chunk=8, tts=30, endpointing=50, output=12),
        dict(llm=40),
    ),
    "asked on an interim text after speech": (
        IN_THE_WAIT | {"llm_requested": 30},
        dict(unattributed=30, llm=132, chunk=8, tts=30, endpointing=50, output=12),
        {},
    ),
    "no chunk mark": (
        without(IN_THE_WAIT, "chunk_ready"),
        dict(stt=60, dispatch=2, llm=100, unattributed=38, endpointing=50, output=12),
        {},
    ),
    "no first audio: the gate cannot be told from the voice": (
        without(IN_THE_WAIT, "tts_first_audio"),
        dict(stt=60, dispatch=2, llm=100, chunk=8, unattributed=92),
        {},
    ),
    "no commit: it could stand before the request or before the sound": (
        without(IN_THE_WAIT, "turn_committed"),
        dict(stt=60, llm=100, chunk=8, tts=30, unattributed=2 + 62),
        {},
    ),
    "a commit after the sound did not gate it": (
        IN_THE_WAIT | {"turn_committed": 300},
        dict(stt=60, llm=100, chunk=8, tts=30, unattributed=2 + 62),
        {},
    ),
    "first audio before its text: one of them is wrong, and what contains them is not explained": (
        IN_THE_WAIT | {"tts_first_audio": 61},
        dict(stt=60, unattributed=1 + 189, output=12),
        {},
    ),
    "only the two sounds": ({"speech_ended": 0, "first_audible": 300}, dict(unattributed=300), {}),
    "at once": ({"speech_ended": 0, "first_audible": 0}, dict(unattributed=0), {}),
}


def marks_of(milliseconds: dict[str, float]) -> dict[Mark, float | None]:
    return {mark: 1000 + milliseconds[mark] / 1000 if mark in milliseconds else None for mark in Mark}


@pytest.mark.parametrize(("marks", "spans", "hidden"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes(marks: dict[str, float], spans: dict[str, float], hidden: dict[str, float]) -> None:
    path = critical_path(marks_of(marks))
    assert spans_ns(path) == {Stage.UNATTRIBUTED: 0} | {Stage(name): ms * NS_PER_MS for name, ms in spans.items()}
    assert hidden_ns(path) == {Stage(name): ms * NS_PER_MS for name, ms in hidden.items()}


def test_spans_stand_in_the_order_of_the_path() -> None:
    assert list(spans_ns(critical_path(marks_of(SERIAL)))) == list(Stage)


@pytest.mark.parametrize(
    "marks",
    [
        without(IN_THE_WAIT, "first_audible"),
        without(IN_THE_WAIT, "speech_ended"),
        IN_THE_WAIT | {"first_audible": -1},
        {},
    ],
    ids=["no answer", "no end of speech", "audible before the end of speech", "nothing"],
)
def test_no_wait_no_path(marks: dict[str, float]) -> None:
    path = critical_path(marks_of(marks))
    assert path == ()
    assert spans_ns(path) == {}
    assert hidden_ns(path) == {}


seconds = st.one_of(
    st.floats(min_value=-5, max_value=5, allow_nan=False),
    st.integers(min_value=-4, max_value=4).map(float),  # so that marks coincide
    st.floats(min_value=1e5, max_value=1e5 + 2, allow_nan=False),  # a machine that has been up for a day
)
any_marks = st.fixed_dictionaries({mark: st.none() | seconds for mark in Mark})
ended_and_heard = st.fixed_dictionaries(
    {mark: seconds if mark in (Mark.SPEECH_ENDED, Mark.FIRST_AUDIBLE) else st.none() | seconds for mark in Mark}
)


@given(ended_and_heard | any_marks)
def test_spans_sum_to_the_total_exactly(marks: dict[Mark, float | None]) -> None:
    path = critical_path(marks)
    ended, heard = marks[Mark.SPEECH_ENDED], marks[Mark.FIRST_AUDIBLE]
    if ended is None or heard is None or to_ns(heard) < to_ns(ended):
        assert path == ()
        return
    assert sum(spans_ns(path).values()) == to_ns(heard) - to_ns(ended)
    assert all(ns >= 0 for ns in spans_ns(path).values())
    assert all(ns > 0 for ns in hidden_ns(path).values())
    # The steps touch each other from the one sound to the other, so nothing is counted twice or left out.
    assert path[0].start_ns == to_ns(ended)
    assert path[-1].end_ns == to_ns(heard)
    assert all(before.end_ns == after.start_ns for before, after in itertools.pairwise(path))


@given(st.lists(st.integers(min_value=0, max_value=2_000_000), min_size=8, max_size=8))
def test_in_causal_order_with_all_marks_everything_is_explained(microseconds: list[int]) -> None:
    marks: dict[Mark, float | None] = {
        mark: us / 1e6 for mark, us in zip(Mark, sorted(microseconds), strict=True)
    }  # Mark lists them in the order of causes
    path = critical_path(marks)
    assert spans_ns(path)[Stage.UNATTRIBUTED] == 0
    assert set(spans_ns(path)) == set(Stage)
    assert hidden_ns(path) == {}


@given(ended_and_heard, st.floats(min_value=0, max_value=3))
def test_work_before_the_end_of_speech_never_makes_the_path_longer(
    marks: dict[Mark, float | None], earlier_s: float
) -> None:
    """Moving every mark but the two sounds and the commit earlier leaves the total and takes nothing below 0."""
    fixed = (Mark.SPEECH_ENDED, Mark.FIRST_AUDIBLE, Mark.TURN_COMMITTED)
    moved = {m: at if at is None or m in fixed else at - earlier_s for m, at in marks.items()}
    before, after = critical_path(marks), critical_path(moved)
    assert sum(spans_ns(before).values()) == sum(spans_ns(after).values())
    assert all(ns >= 0 for ns in spans_ns(after).values())


@given(ended_and_heard)
def test_a_missing_mark_never_explains_more(marks: dict[Mark, float | None]) -> None:
    """Taking out a mark that agrees with the others can only add to what is unattributed."""
    path = critical_path(marks)
    chain = [m for m in Mark if marks[m] is not None and m is not Mark.TURN_COMMITTED]
    if not path or [to_ns(marks[m] or 0.0) for m in chain] != sorted(to_ns(marks[m] or 0.0) for m in chain):
        return  # a contradiction that is taken out may well explain more
    unexplained = spans_ns(path)[Stage.UNATTRIBUTED]
    for mark in chain[1:-1]:
        assert spans_ns(critical_path(marks | {mark: None}))[Stage.UNATTRIBUTED] >= unexplained
