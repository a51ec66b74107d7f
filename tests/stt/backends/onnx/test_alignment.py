from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from voice_agent.stt.backends.onnx.alignment import cheapest_path, path

Float32 = npt.NDArray[np.float32]


def cheapest(cost: Float32) -> float:
    """The least sum of a path through ``cost``, cell by cell."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            total[i, j] = cost[i - 1, j - 1] + min(total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
    return float(total[rows, columns])


@given(arrays(np.float32, st.tuples(st.integers(1, 7), st.integers(1, 9)), elements=st.floats(-4, 4, width=16)))
def test_the_path_is_the_cheapest_and_goes_on(cost: Float32) -> None:
    found = cheapest_path(cost)
    assert found[0] == (0, 0)
    assert found[-1] == (cost.shape[0] - 1, cost.shape[1] - 1)
    for (a, b), (c, d) in itertools.pairwise(found):
        assert (c - a, d - b) in {(1, 1), (1, 0), (0, 1)}
    assert sum(float(cost[cell]) for cell in found) == pytest.approx(cheapest(cost), abs=1e-3)


def test_tokens_lie_where_they_are_attended_to() -> None:
    attention = np.full((2, 6, 40), 0.001, np.float32)  # two before the text, three of it, the end
    for token, (start, stop) in {2: (0, 10), 3: (10, 25), 4: (25, 40)}.items():
        attention[:, token, start:stop] = 0.1
    found = path(attention, 2, 7)
    starts = [next(column for row, column in found if row == token) for token in range(3)]
    assert starts == pytest.approx([0, 10, 25], abs=2)
