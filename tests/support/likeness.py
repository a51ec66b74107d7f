"""Whether a recording holds a known signal: whole, in order, and in time."""

from __future__ import annotations

import numpy as np

from tests.support.pulse import Int16, place

PIECE_S = 0.4
SAME = 0.9  # normalized correlation of a piece with its place
EARLY_S, LATE_S = 0.1, 0.5  # how far a piece may be from where the piece before it says


def share_found(needle: Int16, hay: Int16, rate: int) -> float:
    """The share of ``needle``'s pieces of 0.4 s that are in ``hay``, whatever their level (1: all of them).

    A piece counts if it is there nearly sample for sample, and where the last piece that was found puts it: a signal in
    the wrong order, or repeated instead of continued, is not found. A dropout costs the piece that it is in. Silent
    pieces do not count.
    """
    size, found, total, expected = round(PIECE_S * rate), 0, 0, None
    for at in range(0, len(needle) - size + 1, size):
        piece = needle[at : at + size]
        if piece.astype(float).std() >= 100:
            total += 1
            first = 0 if expected is None else max(0, expected - round(EARLY_S * rate))
            last = len(hay) if expected is None else expected + size + round(LATE_S * rate)
            window = hay[first:last]
            where = place(piece, window) if len(window) >= size else 0
            if _correlation(piece, window[where : where + size]) > SAME:
                found, expected = found + 1, first + where
        if expected is not None:
            expected += size
    return found / total


def _correlation(a: Int16, b: Int16) -> float:
    if len(a) != len(b):
        return 0.0
    one, other = a.astype(float), b.astype(float)
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-9))
