from __future__ import annotations

import pytest

from voice_agent.config import RoomConfig
from voice_agent.room.worker import FULL, reported_load
from voice_agent.room.worker_load import LATE_S, CoresUsed, load

ROOM = RoomConfig(calls_per_core=4)
IDLE = CoresUsed(0.0, 0.0)


@pytest.mark.parametrize(("calls", "full"), [(0, False), (1, False), (7, False), (8, True), (12, True)])
def test_calls_are_counted_against_the_cores(calls: int, full: bool) -> None:
    assert (load(ROOM, calls, 2.0, IDLE, 0.0) >= FULL) is full


def test_our_own_work_takes_nothing_away_but_others_do() -> None:
    assert load(ROOM, 4, 2.0, CoresUsed(2.0, 2.0), 0.0) == pytest.approx(0.5)
    assert load(ROOM, 4, 2.0, CoresUsed(2.0, 1.0), 0.0) == 1.0


def test_a_busy_machine_takes_a_call_all_the_same_if_it_has_none() -> None:
    assert load(ROOM, 0, 1.0, CoresUsed(8.0, 0.0), 9.0) == 0.0


def test_a_late_stt_makes_the_machine_full() -> None:
    assert load(ROOM, 2, 2.0, IDLE, LATE_S) < FULL
    assert load(ROOM, 2, 2.0, IDLE, LATE_S + 0.01) == 1.0


@pytest.mark.parametrize("calls", range(9))
def test_the_server_sends_calls_until_the_machine_is_full(calls: int) -> None:
    target_load = 0.7  # from there on livekit-server sends none
    now = load(RoomConfig(max_calls=8), calls, 8.0, CoresUsed(0.0, 0.0), 0.0)
    assert (reported_load(now, limited=True) < target_load) is (calls < 8)
    assert (reported_load(now, limited=True) >= FULL) is (calls == 8)
    assert reported_load(now, limited=False) < target_load, "without a limit it always takes another one"


def test_a_limit_is_kept() -> None:
    assert load(RoomConfig(calls_per_core=4, max_calls=3), 3, 2.0, IDLE, 0.0) == 1.0
    assert load(RoomConfig(calls_per_core=4, max_calls=300), 8, 2.0, IDLE, 0.0) == 1.0
