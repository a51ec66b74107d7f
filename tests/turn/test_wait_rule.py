"""How long a turn policy waits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.config import TurnConfig
from voice_agent.turn.turn_policy import TurnState
from voice_agent.turn_events import EndOfTurn

from .driven_policy import SURE, TEXT, UNFINISHED, DrivenPolicy, configured


def wait_s(score: float | None, config: TurnConfig, *, pauses_s: tuple[float, ...] = ()) -> float:
    call = DrivenPolicy(config).speech()
    for pause_s in pauses_s:
        call.silence(pause_s).speech(5)
    call.hear(1, 0.1)
    call.policy.text(TEXT, call.now_s, call.now_s)
    if score is not None:
        call.policy.end_of_turn_score(TEXT, score, call.now_s)
    assert call.policy.state is TurnState.PAUSED
    return call.policy.wait_s()


scores = st.floats(-13.8, 0.0)


class TestWaits:
    @pytest.mark.parametrize(
        ("score", "expected_s"),
        [(-0.1, 0.2), (-2.0, 0.2), (-2.5, 0.4), (-3.0, 0.6), (-3.5, 1.1), (-4.0, 1.6), (-9.0, 1.6), (None, 0.6)],
    )
    def test_by_score(self, score: float | None, expected_s: float) -> None:
        assert wait_s(score, configured()) == pytest.approx(expected_s)

    @settings(deadline=None)
    @given(scores, scores, st.floats(0, 1), st.lists(st.floats(0.05, 0.15), max_size=2))
    def test_a_higher_score_never_waits_longer(
        self, a: float, b: float, patience: float, pauses_s: list[float]
    ) -> None:
        config = configured(patience=patience, min_pause_s=0.03, usual_pause_factor=0.5)
        low, high = sorted((a, b))
        given_pauses = tuple(pauses_s)
        less = wait_s(high, config, pauses_s=given_pauses)
        assert less <= wait_s(low, config, pauses_s=given_pauses) + 1e-9

    @settings(deadline=None)
    @given(scores, st.floats(0, 1))
    def test_patience_scales_every_wait(self, score: float, patience: float) -> None:
        plain = wait_s(score, configured())
        config = configured(patience=patience)
        assert wait_s(score, config) == pytest.approx(plain * config.patience_factor)
        assert 0.5 <= config.patience_factor <= 2.0

    def test_a_speaker_who_paused_in_this_turn_is_given_as_long(self) -> None:
        without, with_pause = wait_s(SURE, configured()), wait_s(SURE, configured(), pauses_s=(0.32,))
        assert without == pytest.approx(0.2)
        assert with_pause == pytest.approx(0.32 * 1.2, abs=0.02)
        assert wait_s(SURE, configured(), pauses_s=(0.5,)) == pytest.approx(0.5)  # at most wait_after_pauses_s

    def test_gaps_between_words_are_no_pauses(self) -> None:
        assert wait_s(SURE, configured(), pauses_s=(0.16,)) == pytest.approx(0.2)

    def test_a_usual_pause_is_remembered_over_turns(self) -> None:
        config = configured(usual_pause_factor=1.0, pause_factor=0.0, wait_after_pauses_s=0.5)
        call = DrivenPolicy(config)
        for _ in range(6):
            call.speech().hear(1, 0.1).text("What is the", UNFINISHED).silence(0.42).speech(10).hear(1, 0.1)
            call.text(score=SURE).ready().silence(0.8).audible()
        first, *_, last = (d for d in call.of(EndOfTurn) if isinstance(d, EndOfTurn))
        assert first.wait_s < last.wait_s <= 0.5 + 1e-9
