"""Urgent work goes first, other work leaves room; who is due first gets the semaphore. The clock is the test's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future

import pytest

from voice_agent.clock import ManualClock
from voice_agent.runtime.scheduling import PrioritySemaphore, Scheduler


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def held(scheduler: Scheduler) -> threading.Event:
    """Keep the thread busy until the event is set."""
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(10)

    scheduler.executor().submit(work)
    assert begun.wait(10)
    return go


def test_urgent_executors_go_first_and_then_the_oldest(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, width=1)
    done: list[str] = []
    urgent: set[str] = set()
    go = held(scheduler)
    futures: list[Future[None]] = [
        scheduler.executor(lambda name=name: name in urgent).submit(done.append, name)  # type: ignore[misc]
        for name in ("first", "second", "third")
    ]
    urgent.add("third")  # it paused after its pass was wanted
    go.set()
    for future in futures:
        future.result(10)
    assert done == ["third", "first", "second"]
    scheduler.close()


def test_urgent_work_finds_a_thread_while_other_work_runs(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, width=2)
    go = held(scheduler)
    assert scheduler.executor(lambda: True).submit(lambda: "heard").result(10) == "heard"
    go.set()
    scheduler.close()


def test_the_last_free_thread_is_for_urgent_work(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, width=2)
    go = held(scheduler)
    later = scheduler.executor().submit(lambda: "mid-speech")
    assert scheduler.executor(lambda: True).submit(lambda: "heard").result(10) == "heard"
    assert not later.running()
    assert not later.done()
    go.set()
    assert later.result(10) == "mid-speech"
    scheduler.close()


def test_the_work_of_a_call_never_runs_on_two_threads_at_once(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, width=3)
    executor = scheduler.executor(lambda: True)
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(10)

    first = executor.submit(work)
    assert begun.wait(10)
    second = executor.submit(lambda: first.done())
    assert scheduler.executor(lambda: True).submit(lambda: "another call").result(10) == "another call"
    assert not second.done()
    go.set()
    assert second.result(10)
    scheduler.close()


def test_work_runs_in_order_and_an_error_stays_in_its_future(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, width=1)
    executor = scheduler.executor()
    done: list[int] = []
    executor.submit(done.append, 1)
    broken = executor.submit(lambda: 1 / 0)
    executor.submit(done.append, 2).result(10)
    assert done == [1, 2]
    with pytest.raises(ZeroDivisionError):
        broken.result(10)
    scheduler.close()


def test_the_end_of_a_call_does_not_touch_the_others(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, width=1)
    go = held(scheduler)
    gone, there = scheduler.executor(), scheduler.executor()
    dropped, kept = gone.submit(int), there.submit(int)
    gone.shutdown()
    go.set()
    assert kept.result(10) == 0
    with pytest.raises(CancelledError):
        dropped.result(10)
    with pytest.raises(RuntimeError, match="shutdown"):
        gone.submit(int)
    scheduler.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        there.submit(int)


def test_only_urgent_waits_are_counted(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, width=1)
    go = held(scheduler)
    patient, urgent = scheduler.executor(), scheduler.executor(lambda: True)
    waits = patient.submit(int)
    future = urgent.submit(int)
    clock.advance(0.7)
    go.set()
    future.result(10)
    assert scheduler.urgent_wait_s(1.0) == pytest.approx(0.7)
    clock.advance(5.0)
    waits.result(10)
    assert scheduler.urgent_wait_s(1.0) == 0.0
    scheduler.close()


def test_a_wait_counts_from_when_it_became_urgent(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, width=2)
    go = held(scheduler)  # the thread for what is not urgent
    paused = threading.Event()
    future = scheduler.executor(paused.is_set).submit(int)
    clock.advance(5.0)  # in mid-speech nobody waits
    paused.set()
    future.result(10)
    assert scheduler.urgent_wait_s(1.0) == 0.0
    go.set()
    scheduler.close()


def test_another_thread_polls_when_the_one_that_polled_has_found_work(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, cores=2, width=3)
    holds = [held(scheduler)]
    scheduler.executor(lambda: True).submit(int).result(10)
    paused = [threading.Event(), threading.Event()]
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(10)

    scheduler.pause_until(1e9)  # only urgent work begins
    first = scheduler.executor(paused[0].is_set).submit(work)
    second = scheduler.executor(paused[1].is_set).submit(int)
    time.sleep(0.1)
    paused[0].set()
    assert begun.wait(10)
    paused[1].set()
    assert second.result(5) == 0
    for one in (*holds, go):
        one.set()
    first.result(10)
    scheduler.close()


def test_work_that_is_not_urgent_is_followed_by_a_pause(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, cores=2, width=1)
    go = held(scheduler)  # the first of five executors
    patient, urgent = scheduler.executor(), scheduler.executor(lambda: True)
    scheduler.executor(), scheduler.executor()
    waits = patient.submit(int)
    clock.advance(0.4)
    go.set()
    for _ in range(3):  # during the pause urgent work begins
        urgent.submit(int).result(10)
    clock.advance(3.19)  # four further calls on two cores, two a core: four times twice what the work took
    urgent.submit(int).result(10)
    assert not waits.done()
    clock.advance(0.02)
    waits.result(10)
    scheduler.close()


def test_one_call_alone_has_no_pause(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, cores=1, width=1)
    executor = scheduler.executor()
    executor.submit(clock.advance, 5.0).result(10)
    executor.submit(int).result(10)
    scheduler.close()


class Queue:
    """Threads at a semaphore; the test says when each leaves."""

    def __init__(self, semaphore: PrioritySemaphore) -> None:
        self.semaphore = semaphore
        self.inside: list[str] = []
        self._leave: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}

    def comes(self, name: str, by: float) -> None:
        self._leave[name] = threading.Event()

        def visit() -> None:
            with self.semaphore.turn(by):
                self.inside.append(name)
                self._leave[name].wait(10)

        before = self.known
        thread = self._threads[name] = threading.Thread(target=visit, daemon=True)
        thread.start()
        wait(lambda: self.known == before + 1)

    @property
    def known(self) -> int:
        return len(self.inside) + self.semaphore.waiting

    def leaves(self, *names: str) -> None:
        for name in names:
            wait(lambda name=name: name in self.inside)  # type: ignore[misc]
            self._leave[name].set()
            self._threads[name].join(10)


def wait(true: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if true():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it did not come true")


def test_the_semaphore_lets_through_who_is_due_first(clock: ManualClock) -> None:
    queue = Queue(PrioritySemaphore(1, 1, clock))
    queue.comes("first", 0.0)
    for name, by in (("steady", 2.0), ("steady too", 2.0), ("beginning", 0.0)):
        queue.comes(name, by)
    queue.leaves("first", "beginning", "steady", "steady too")
    assert queue.inside == ["first", "beginning", "steady", "steady too"]


def test_what_is_not_due_leaves_a_place_for_what_is(clock: ManualClock) -> None:
    queue = Queue(PrioritySemaphore(2, 1, clock))
    queue.comes("steady", 2.0)
    queue.comes("steady too", 1.0)
    assert queue.inside == ["steady"]
    queue.comes("beginning", 0.0)
    wait(lambda: queue.inside == ["steady", "beginning"])
    queue.leaves("beginning")
    assert queue.inside == ["steady", "beginning"], "the place stays free"
    queue.leaves("steady", "steady too")


def test_what_has_become_due_may_take_every_place(clock: ManualClock) -> None:
    queue = Queue(PrioritySemaphore(2, 1, clock))
    queue.comes("steady", 2.0)
    queue.comes("late", 1.0)
    clock.advance(1.5)
    queue.comes("later", 3.0)  # whoever comes makes the semaphore look at the others
    wait(lambda: queue.inside == ["steady", "late"])
    queue.leaves("steady", "late", "later")


def test_a_turn_that_fails_is_over() -> None:
    semaphore = PrioritySemaphore(1)
    with pytest.raises(ValueError, match="broken"), semaphore.turn(0):
        raise ValueError("broken")
    with semaphore.turn(0):
        pass
    with pytest.raises(ValueError, match="at least one"):
        PrioritySemaphore(0)


def test_more_calls_than_the_cores_have_room_for(clock: ManualClock) -> None:
    scheduler = Scheduler(clock, cores=2, width=1)
    calls = [scheduler.executor() for _ in range(3)]
    assert scheduler.has_more_calls_than(1.0)
    assert not scheduler.has_more_calls_than(1.5)
    calls[0].shutdown()
    assert not scheduler.has_more_calls_than(1.0)
    scheduler.close()
