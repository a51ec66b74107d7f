from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voice_agent.tts.vits_split import Part
from voice_agent.tts.vits_windows import window


def test_a_window_gives_what_there_is_room_for() -> None:
    class Runs:
        part = Part(b"", (), (), reach_frames=11)
        widths: tuple[int, ...] = (25, 50, 118)

        def run(self, feed: object, stop: object) -> list[NDArray[np.float32]]:
            raise AssertionError

    runs = Runs()
    assert window(runs, 0, 14, 300) == (0, 25, 14)
    assert window(runs, 14, 42, 300) == (3, 53, 42)
    assert window(runs, 42, 234, 300) == (31, 149, 138)  # less than was asked for
    assert window(runs, 138, 160, 300) == (127, 177, 166)  # more than was asked for
    assert window(runs, 280, 300, 300) == (269, 300, 300)
    runs.widths = ()
    assert window(runs, 138, 160, 300) == (127, 171, 160)
