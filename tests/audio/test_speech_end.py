from __future__ import annotations

import pytest

from voice_agent.audio.speech_end import BEFORE_CROSSING, WINDOW_S, SpeechEnd


def edge_of(*probabilities: float) -> SpeechEnd:
    """Windows one after the other from 0 s on."""
    edge = SpeechEnd()
    for i, p in enumerate(probabilities, 1):
        edge.window(i * WINDOW_S, p)
    return edge


def test_the_end_moves_with_the_probabilities_and_does_not_jump() -> None:
    """A last window just above the threshold and one just below it are the same speech."""
    above = edge_of(0.9, 0.9, 0.5 + 1e-9, 0.1).refined()
    below = edge_of(0.9, 0.9, 0.5 - 1e-9, 0.1).refined()
    assert above == pytest.approx(below, abs=1e-6)


def test_surer_speech_ends_later() -> None:
    ends = [edge_of(0.9, last, 0.1).refined() for last in (0.55, 0.7, 0.9)]
    assert ends == sorted(ends)
    assert ends[0] < ends[-1]


@pytest.mark.parametrize(("last", "after"), [(0.51, 0.0), (0.51, 0.5), (1.0, 0.0), (1.0, 0.5)])
def test_never_far_from_the_last_window(last: float, after: float) -> None:
    end = edge_of(1.0, last, after).refined()
    after_windows = (end - 2 * WINDOW_S) / WINDOW_S
    assert -BEFORE_CROSSING - 1e-6 <= after_windows <= 1 - BEFORE_CROSSING + 1e-6


def test_until_the_next_window_it_is_where_the_last_one_ended() -> None:
    assert edge_of(0.9, 0.9).refined() == pytest.approx(2 * WINDOW_S)


def test_another_window_than_the_last_is_not_refined() -> None:
    assert edge_of(0.9, 0.9, 0.2).refined(WINDOW_S) == WINDOW_S


def test_a_pause_inside_the_speech_is_forgotten() -> None:
    assert edge_of(0.9, 0.2, 0.9, 0.9, 0.3).refined() == pytest.approx(edge_of(0.9, 0.9, 0.9, 0.9, 0.3).refined())
