"""The caller's own bookkeeping, without a room."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from livekit import rtc

from voice_agent.clock import ManualClock
from voice_agent.room.caller import FRAME, LEAD_S, PIECE, RATE, Caller, _loud_ends


def test_the_times_of_a_long_piece_are_those_of_its_10_ms_steps() -> None:
    pcm = np.zeros(5 * FRAME, np.int16)
    pcm[FRAME + 3] = 1000
    pcm[4 * FRAME :] = -1000
    assert _loud_ends(pcm, 2.0) == pytest.approx([1.97, 2.0])
    assert _loud_ends(np.full(FRAME, 200, np.int16), 2.0) == []


async def test_a_hole_in_what_arrives_is_counted_from_the_beginning_of_the_next_piece() -> None:
    caller = Caller(ManualClock())
    loud = np.full(5 * FRAME, 1000, np.int16)
    for end_s in (1.05, 1.10, 1.23, 1.28):
        caller._heard.append((end_s, loud))
        caller._loud += _loud_ends(loud, end_s)
    (gap,) = caller.gaps()
    assert (gap.at_s, gap.length_s) == pytest.approx((1.10, 0.08))


class Taken(rtc.AudioSource):
    """Takes sound, and ends the test when it has enough."""

    def __init__(self, clock: ManualClock, until: int) -> None:
        self.clock, self.until = clock, until
        self.pieces: list[tuple[float, int]] = []  # when, and how many samples

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        self.pieces.append((self.clock.now(), frame.samples_per_channel))
        self.clock.advance(0.1)
        if len(self.pieces) == self.until:
            raise EOFError


async def test_sound_is_handed_on_in_pieces_and_the_line_says_when_it_is_spoken() -> None:
    clock = ManualClock()
    caller = Caller(clock)
    source = Taken(clock, 4)
    caller._source = cast(rtc.AudioSource, source)
    start = caller.say(np.ones(15 * FRAME, np.int16))
    assert start == 0.0
    speaking_before = caller.speaking
    assert speaking_before
    with pytest.raises(EOFError):
        await caller._feed()
    assert [n for _, n in source.pieces] == [PIECE * FRAME] * 4
    line = caller.recording()[:, 0]
    assert line[: 15 * FRAME].all()
    assert not line[15 * FRAME :].any()
    assert len(line) == 3 * PIECE * FRAME
    assert not caller.speaking
    assert caller.say(np.ones(FRAME, np.int16)) == pytest.approx(3 * PIECE * FRAME / RATE), "after what was handed on"
    assert LEAD_S < PIECE * FRAME / RATE
