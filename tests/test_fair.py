from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future

import pytest

from voice_agent.clock import ManualClock
from voice_agent.fair import Lanes, Turnstile


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def held(lanes: Lanes) -> threading.Event:
    """Keep the thread busy until the event is set."""
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(10)

    lanes.lane().submit(work)
    assert begun.wait(10)
    return go


def test_urgent_lanes_go_first_and_then_the_oldest(clock: ManualClock) -> None:
    lanes = Lanes(clock)
    done: list[str] = []
    urgent: set[str] = set()
    go = held(lanes)
    futures: list[Future[None]] = [
        lanes.lane(lambda name=name: name in urgent).submit(done.append, name)  # type: ignore[misc]
        for name in ("first", "second", "third")
    ]
    urgent.add("third")  # it paused after its pass was wanted
    go.set()
    for future in futures:
        future.result(10)
    assert done == ["third", "first", "second"]
    lanes.close()


def test_one_lane_keeps_its_order_and_one_error_its_lane(clock: ManualClock) -> None:
    lanes = Lanes(clock)
    lane = lanes.lane()
    done: list[int] = []
    lane.submit(done.append, 1)
    broken = lane.submit(lambda: 1 / 0)
    lane.submit(done.append, 2).result(10)
    assert done == [1, 2]
    with pytest.raises(ZeroDivisionError):
        broken.result(10)
    lanes.close()


def test_the_end_of_a_call_leaves_the_others_be(clock: ManualClock) -> None:
    lanes = Lanes(clock)
    go = held(lanes)
    gone, there = lanes.lane(), lanes.lane()
    dropped, kept = gone.submit(int), there.submit(int)
    gone.shutdown()
    go.set()
    assert kept.result(10) == 0
    with pytest.raises(CancelledError):
        dropped.result(10)
    with pytest.raises(RuntimeError, match="shutdown"):
        gone.submit(int)
    lanes.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        there.submit(int)


def test_only_urgent_waits_are_told(clock: ManualClock) -> None:
    lanes = Lanes(clock)
    go = held(lanes)
    patient, urgent = lanes.lane(), lanes.lane(lambda: True)
    waits = patient.submit(int)
    future = urgent.submit(int)
    clock.advance(0.7)
    go.set()
    future.result(10)
    assert lanes.urgent_wait_s(1.0) == pytest.approx(0.7)
    clock.advance(5.0)
    waits.result(10)
    assert lanes.urgent_wait_s(1.0) == 0.0
    lanes.close()


def test_what_nobody_waits_for_leaves_the_cores_to_others(clock: ManualClock) -> None:
    lanes = Lanes(clock, cores=2)
    go = held(lanes)  # the first of five lanes
    patient, urgent = lanes.lane(), lanes.lane(lambda: True)
    lanes.lane(), lanes.lane()
    waits = patient.submit(int)
    clock.advance(0.4)
    go.set()
    for _ in range(3):  # the rest lets in who is waited for
        urgent.submit(int).result(10)
    clock.advance(0.39)  # four further calls on two cores: as long again as the work took
    urgent.submit(int).result(10)
    assert not waits.done()
    clock.advance(0.02)
    waits.result(10)
    lanes.close()


def test_one_call_does_not_rest(clock: ManualClock) -> None:
    lanes = Lanes(clock, cores=1)
    lane = lanes.lane()
    lane.submit(clock.advance, 5.0).result(10)
    lane.submit(int).result(10)
    lanes.close()


def test_a_turnstile_lets_beginnings_in_first() -> None:
    turnstile = Turnstile()
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with turnstile.turn(1):
            inside.set()
            leave.wait(10)

    def other(name: str, rank: int) -> None:
        with turnstile.turn(rank):
            order.append(name)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert inside.wait(10)
    for waiting, (name, rank) in enumerate((("steady", 1), ("steady too", 1), ("beginning", 0)), start=1):
        threads.append(threading.Thread(target=other, args=(name, rank)))
        threads[-1].start()
        for _ in range(10_000):
            if len(turnstile._waiting) == waiting:
                break
            threading.Event().wait(0.001)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["beginning", "steady", "steady too"]
    with turnstile.turn(0):
        pass  # it is free again


def test_a_turn_that_fails_is_handed_on() -> None:
    turnstile = Turnstile(1)
    with pytest.raises(ValueError, match="broken"), turnstile.turn(0):
        raise ValueError("broken")
    with turnstile.turn(0):
        pass
    with pytest.raises(ValueError, match="at least one"):
        Turnstile(0)
