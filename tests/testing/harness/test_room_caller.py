"""The caller's own bookkeeping, without a room."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np
import pytest
from livekit import rtc

from voice_agent.clock import ManualClock
from voice_agent.testing.harness.room_caller import FRAME, LEAD_S, PIECE, RATE, Caller, Concealed, _loud_ends


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


async def test_sound_that_came_late_and_caught_up_was_not_away() -> None:
    caller = Caller(ManualClock())
    loud = np.full(RATE // 20, 5000, np.int16)
    for end_s in (1.05, 1.10, 1.23, 1.235, 1.25, 1.30):
        caller._heard.append((end_s, loud))
        caller._loud += _loud_ends(loud, end_s)
    assert caller.gaps() == []


async def test_silence_in_the_middle_of_a_word_is_a_gap_a_pause_is_none() -> None:
    caller = Caller(ManualClock())
    word, silence = np.full(RATE // 10, 5000, np.int16), np.zeros(RATE // 10, np.int16)
    energy_drop = np.linspace(5000, 0, RATE // 10).astype(np.int16)
    energy_drop[-RATE // 20 :] = 40  # a voice's own pause is never this quiet for long
    breath = np.full(RATE // 10, 40, np.int16)
    for i, pcm in enumerate((word, silence, word, energy_drop, breath, silence, word, silence)):
        caller._heard.append((1.0 + 0.1 * (i + 1), pcm))
        caller._loud += _loud_ends(pcm, 1.0 + 0.1 * (i + 1))
    (gap,) = caller.gaps()  # neither the one behind the breath nor the end of the reply
    assert (gap.at_s, gap.length_s) == pytest.approx((1.1, 0.1))


class Taken(rtc.AudioSource):
    """Takes sound, and ends the test when it has enough."""

    def __init__(self, clock: ManualClock, until: int, *, takes_s: float = 0.1) -> None:
        self.clock, self.until, self.takes_s = clock, until, takes_s
        self.pieces: list[tuple[float, int]] = []  # when, and how many samples

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        self.pieces.append((self.clock.now(), frame.samples_per_channel))
        self.clock.advance(self.takes_s)
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


@pytest.mark.parametrize(("lead_s", "pieces"), [(LEAD_S, 1), (0.2, 3)])
async def test_sound_may_be_handed_on_further_ahead(lead_s: float, pieces: int) -> None:
    clock = ManualClock()
    caller = Caller(clock, lead_s=lead_s)
    source = Taken(clock, 10, takes_s=0.0)
    caller._source = cast(rtc.AudioSource, source)
    caller.say(np.ones(30 * FRAME, np.int16))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller._feed(), 0.02)  # it sleeps for longer than that
    assert len(source.pieces) == pieces


async def test_a_stall_in_speech_is_a_lag() -> None:
    clock = ManualClock()
    caller = Caller(clock)
    caller._source = cast(rtc.AudioSource, Taken(clock, 3))
    caller.say(np.ones(30 * FRAME, np.int16))
    caller._spoken = [np.ones(FRAME, np.int16)] * 5
    clock.advance(0.25)
    with pytest.raises(EOFError):
        await caller._feed()
    assert caller.worst_lag_s == pytest.approx(0.2)


async def test_waiting_for_quiet_ends_when_it_was_told_to() -> None:
    caller = Caller()
    caller._speech_until_s = caller.now_s() + 60.0
    assert not await asyncio.wait_for(caller.quiet(0.5, within_s=0.05), 10.0)


async def test_of_an_agent_that_has_left_nothing_is_asked() -> None:
    class Ended:
        async def get_stats(self) -> list[object]:
            raise RuntimeError("the track has ended")

    class Agent:
        kind = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT

    caller = Caller(ManualClock())
    caller._track = cast(rtc.Track, Ended())
    caller._left(cast(rtc.RemoteParticipant, Agent()))
    assert await caller.concealed() == Concealed()
