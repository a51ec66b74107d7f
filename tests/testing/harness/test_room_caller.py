"""The caller's own bookkeeping, without a room."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np
import pytest
from livekit import rtc

from voice_agent.clock import ManualClock
from voice_agent.testing.harness.agent_audio import FRAME, RATE
from voice_agent.testing.harness.caller_speech import LEAD_S, PIECE
from voice_agent.testing.harness.room_caller import Caller, Concealed


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


async def test_sound_is_handed_on_in_pieces_and_the_timeline_says_when_it_is_spoken() -> None:
    clock = ManualClock()
    caller = Caller(clock)
    source = Taken(clock, 4)
    start = caller.say(np.ones(15 * FRAME, np.int16))
    assert start == 0.0
    speaking_before = caller.speech.speaking
    assert speaking_before
    with pytest.raises(EOFError):
        await caller.speech.feed(cast(rtc.AudioSource, source))
    assert [n for _, n in source.pieces] == [PIECE * FRAME] * 4
    user = caller.recording()[:, 0]
    assert user[: 15 * FRAME].all()
    assert not user[15 * FRAME :].any()
    assert len(user) == 3 * PIECE * FRAME
    assert not caller.speech.speaking
    assert caller.say(np.ones(FRAME, np.int16)) == pytest.approx(3 * PIECE * FRAME / RATE), "after what was handed on"
    assert LEAD_S < PIECE * FRAME / RATE


@pytest.mark.parametrize(("lead_s", "pieces"), [(LEAD_S, 1), (0.2, 3)])
async def test_sound_may_be_handed_on_further_ahead(lead_s: float, pieces: int) -> None:
    clock = ManualClock()
    caller = Caller(clock, lead_s=lead_s)
    source = Taken(clock, 10, takes_s=0.0)
    caller.say(np.ones(30 * FRAME, np.int16))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            caller.speech.feed(cast(rtc.AudioSource, source)), 0.02
        )  # it sleeps for longer than that
    assert len(source.pieces) == pieces


async def test_a_stall_in_speech_is_a_lag() -> None:
    clock = ManualClock()
    caller = Caller(clock)
    source = Taken(clock, 2, takes_s=0.3)  # each push is 0.1 s of sound
    caller.say(np.ones(30 * FRAME, np.int16))
    with pytest.raises(EOFError):
        await caller.speech.feed(cast(rtc.AudioSource, source))
    assert caller.worst_lag_s == pytest.approx(0.2)


async def test_waiting_for_quiet_ends_when_it_was_told_to() -> None:
    caller = Caller()
    caller.say(np.ones(60 * RATE, np.int16))
    assert not await asyncio.wait_for(caller.quiet(0.5, within_s=0.05), 10.0)


async def test_of_an_agent_that_has_left_nothing_is_asked() -> None:
    class Ended:
        async def get_stats(self) -> list[object]:
            raise RuntimeError("the track has ended")

    class Agent:
        kind = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT

    caller = Caller(ManualClock())
    caller.agent_track = cast(rtc.Track, Ended())
    caller.participant_left(cast(rtc.RemoteParticipant, Agent()))
    assert await caller.concealed() == Concealed()
