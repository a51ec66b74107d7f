from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.budget import Budget, Failure, SessionStats, Speculation, Stage, Turn, verdict
from voice_agent.budget.stats import Percentiles, percentile

MakeTurn = Callable[..., Turn]


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=60), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], q: float) -> None:
    assert percentile(values, q) == pytest.approx(float(np.percentile(values, q)), rel=1e-9, abs=1e-9)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=60))
def test_values_may_come_in_any_order(values: list[float]) -> None:
    seen = Percentiles()
    for value in values:
        seen.add(value)
    spread = seen.spread()
    assert spread is not None
    assert spread.n == len(values)
    assert spread.max_ms == max(values)
    assert spread.p50_ms == pytest.approx(float(np.median(values)), rel=1e-9, abs=1e-9)


def test_what_is_no_percentile() -> None:
    assert Percentiles().spread() is None
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0], 101)
    with pytest.raises(ValueError, match="not a duration"):
        Percentiles().add(math.nan)


def session(turns: list[Turn]) -> SessionStats:
    stats = SessionStats()
    for turn in turns:
        stats.add(turn, verdict(turn, Budget()))
    return stats


def test_a_session(make_turn: MakeTurn) -> None:
    def heard(ms: float) -> dict[str, float]:
        return {"speech_ended": 0, "first_audible": ms}

    turns = [
        make_turn(heard(200), speculation=Speculation(requests=3, used=1, thrown_away=2, tokens_wasted=30)),
        make_turn(heard(300), speculation=Speculation(requests=1), simulated=["llm"]),
        make_turn(heard(900), interrupted=True, audio_gaps=2, audio_gaps_ms=35.0),
        make_turn(heard(20), cut_off=True, reopened=True),  # fast, because it did not wait for the user
        make_turn(heard(-50)),
        make_turn({"speech_ended": 0}),
        make_turn({"speech_ended": 0}, error=Failure("RateLimitedError", "429")),
        make_turn(heard(4000), error=Failure("DeadlineError", "4 s")),  # an apology was heard
    ]
    summary = session(turns).summary()
    assert summary.voice_to_voice is not None
    assert summary.voice_to_voice.n == 3
    assert summary.voice_to_voice.p50_ms == pytest.approx(300)
    assert summary.voice_to_voice.p95_ms == pytest.approx(840)
    assert summary.voice_to_voice.max_ms == pytest.approx(900)
    assert summary.stages[Stage.UNATTRIBUTED].n == 3
    assert summary.turns == 8
    assert summary.cut_offs == 2
    assert summary.cut_off_rate == 0.25
    assert summary.unanswered == 2
    assert summary.failed == 2
    assert summary.over_budget == 1
    assert summary.requests_per_turn == 0.5
    assert summary.tokens_wasted == 30
    assert (summary.interrupted, summary.reopened, summary.simulated) == (1, 1, 1)
    assert (summary.audio_gaps, summary.audio_gaps_ms) == (2, 35.0)
    text = str(summary)
    assert "P50 300  P95 840  max 900 ms (n = 3), cut off 2 of 8 (25%)" in text.splitlines()
    for counted in ("unanswered 2", "failed 2", "over budget 1", "0.5 a turn", "30 tokens wasted", "gaps 2 (35 ms)"):
        assert counted in text


def test_latency_is_never_told_without_cut_offs(make_turn: MakeTurn) -> None:
    one = session([make_turn({"speech_ended": 0, "first_audible": 250})]).summary()
    latency = next(line for line in str(one).splitlines() if "P50" in line)
    assert "cut off 0 of 1" in latency
    assert "cut off 1 of 1" in str(session([make_turn({}, cut_off=True)]).summary())


def test_an_empty_session() -> None:
    summary = SessionStats().summary()
    assert summary.cut_off_rate is None
    assert summary.requests_per_turn is None
    assert str(summary) == "no turns yet"


def test_a_summary_does_not_change_with_later_turns(make_turn: MakeTurn) -> None:
    turn = make_turn({"speech_ended": 0, "first_audible": 250})
    stats = session([turn])
    before = stats.summary()
    stats.add(turn, verdict(turn, Budget()))
    assert (before.turns, stats.summary().turns) == (1, 2)
