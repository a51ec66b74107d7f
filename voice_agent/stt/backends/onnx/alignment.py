"""From cross-attention to time: where each token lies in the audio.

openai-whisper's method (https://github.com/openai/whisper/blob/main/whisper/timing.py): the weights of the alignment
heads are normalised over the tokens, smoothed by a median filter and averaged; dynamic time warping gives the path.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
_LEFT, _UP = 0, 2


def path(attention: Float32, first: int, median_width: int) -> list[tuple[int, int]]:
    """``attention`` [heads, tokens, positions] to (token, position) pairs, from token ``first`` to the last but one."""
    spread = attention.std(axis=1, keepdims=True)
    weights = (attention - attention.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    return cheapest_path(-_median(weights, median_width).mean(axis=0)[first:-1])


def _median(x: Float32, width: int) -> Float32:
    reach = width // 2
    if x.shape[-1] <= reach:
        return x
    padded = np.pad(x, ((0, 0), (0, 0), (reach, reach)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    middle: Float32 = np.partition(windows, reach, axis=-1)[..., reach]
    return middle


def cheapest_path(cost: Float32) -> list[tuple[int, int]]:
    """Dynamic time warping over ``cost`` [rows, columns], from the first corner to the last.

    Cells are computed a diagonal at a time: the cells of one depend on the two before it only.
    """
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    came_from = np.zeros((rows + 1, columns + 1), np.int8)
    came_from[0, :], came_from[:, 0] = _LEFT, _UP
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        before = np.stack([total[i, j - 1], total[i - 1, j - 1], total[i - 1, j]])
        came_from[i, j] = before.argmin(axis=0)
        total[i, j] = cost[i - 1, j - 1] + before.min(axis=0)
    found = []
    at_row, at_column = rows, columns
    while at_row > 0 or at_column > 0:
        found.append((at_row - 1, at_column - 1))
        step = came_from[at_row, at_column]
        at_row -= int(step != _LEFT)
        at_column -= int(step != _UP)
    return found[::-1]
