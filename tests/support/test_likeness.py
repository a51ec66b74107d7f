"""The measure of the tests with real sound tells a whole signal from a broken one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.likeness import share_found
from tests.support.pulse import Int16

RATE = 16_000
SIGNAL: Int16 = (np.random.default_rng(3).normal(0, 3000, 4 * RATE)).astype(np.int16)  # ten pieces
SILENCE: Int16 = np.zeros(RATE, np.int16)


def test_a_whole_signal_is_found_at_any_level() -> None:
    hay = np.concatenate([SILENCE, SIGNAL // 4, SILENCE])
    assert share_found(SIGNAL, hay, RATE) == 1.0


def test_a_dropout_and_a_short_stall_cost_the_pieces_they_are_in() -> None:
    dropped = np.delete(SIGNAL, np.arange(2000, 2160))
    stalled = np.concatenate([SIGNAL[:20_000], SILENCE[:3200], SIGNAL[20_000:]])
    assert share_found(SIGNAL, dropped, RATE) == pytest.approx(0.9)
    assert share_found(SIGNAL, stalled, RATE) >= 0.9


@pytest.mark.parametrize(
    "broken",
    [
        np.concatenate([SIGNAL[2 * RATE :], SIGNAL[: 2 * RATE]]),  # in the wrong order
        np.concatenate([SIGNAL[: 2 * RATE], SIGNAL[: 2 * RATE]]),  # its beginning again instead of its end
        np.concatenate([SIGNAL[:RATE], SILENCE, SIGNAL[2 * RATE : 3 * RATE], SILENCE]),  # half of it
        np.concatenate([SIGNAL[i : i + 160] for i in range(0, len(SIGNAL), 320)]),  # every other block
    ],
)
def test_a_broken_signal_is_not(broken: Int16) -> None:
    assert share_found(SIGNAL, np.concatenate([SILENCE, broken, SILENCE]), RATE) <= 0.5
