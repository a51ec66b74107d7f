"""Virtual time: what asyncio does on it, and what is refused."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from livekit.agents import llm
from livekit.agents.utils import misc, shortuuid
from livekit.agents.voice import AgentStateChangedEvent

from voice_agent.clock import Clock
from voice_agent.testing.doubles import VirtualTimeError, livekit_sees, run, spend
from voice_agent.testing.doubles.loop import EPOCH_S, START_S


def test_sleeping_takes_no_time_and_moves_the_clock() -> None:
    async def main(clock: Clock) -> float:
        before = clock.now()
        await asyncio.sleep(3600.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(50.0), 1.5)
        return clock.now() - before

    began = time.monotonic()
    assert run(main) == pytest.approx(3601.5)
    assert time.monotonic() - began < 60  # liveness: an hour was slept


def test_timers_fire_in_order_at_their_very_time() -> None:
    async def main(clock: Clock) -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), list[tuple[str, float]]()

        def note(name: str) -> None:
            seen.append((name, clock.now() - START_S))

        for name, delay in (("c", 0.3), ("a", 0.1), ("b", 0.2), ("a2", 0.1)):
            loop.call_later(delay, note, name)
        await asyncio.sleep(1.0)
        return seen

    seen = run(main)
    assert [name for name, _ in seen] == ["a", "a2", "b", "c"]
    assert [at for _, at in seen] == pytest.approx([0.1, 0.1, 0.2, 0.3])


def test_work_on_a_thread_takes_the_time_it_asks_for() -> None:
    names: list[str] = []

    def work(cost_s: float) -> str:
        names.append(threading.current_thread().name)
        time.sleep(0.01)  # real time does not count
        spend(cost_s)
        return "done"

    async def main(clock: Clock) -> tuple[str, float]:
        before = clock.now()
        await asyncio.to_thread(work, 0.0)
        free = clock.now() - before
        assert free == 0
        return await asyncio.to_thread(work, 0.25), clock.now() - before

    result, took = run(main)
    assert result == "done"
    assert took == pytest.approx(0.25)
    assert threading.current_thread().name not in names


def test_an_error_on_a_thread_reaches_who_waits() -> None:
    def work() -> None:
        raise ValueError("from the thread")

    async def main() -> None:
        await asyncio.to_thread(work)

    with pytest.raises(ValueError, match="from the thread"):
        run(main())


def test_spending_without_a_virtual_loop_does_nothing() -> None:
    spend(10.0)


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


async def _connect() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def _tick() -> None:
    while True:  # noqa: ASYNC110 - it is to hang
        await asyncio.sleep(100.0)


async def _intruder() -> None:
    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(int), name="poller")
    thread.start()
    thread.join()
    await asyncio.sleep(1.0)


@pytest.mark.parametrize(
    ("main", "says"),
    [
        (_forever, "never happens. Tasks: .*_forever"),
        (_connect, "socket or pipe.*double"),
        (_tick, "limit of virtual time"),
        (_intruder, "thread 'poller'.*run_in_executor"),
    ],
)
def test_what_virtual_time_cannot_hold_is_said(main: object, says: str) -> None:
    with pytest.raises(VirtualTimeError, match=says):
        run(main())  # type: ignore[operator]


def test_livekit_reads_the_virtual_clock_and_counts_its_ids() -> None:
    async def main(clock: Clock) -> tuple[float, float, str, str]:
        await asyncio.sleep(5.0)
        message = llm.ChatMessage(role="user", content=["hello"])
        event = AgentStateChangedEvent(old_state="listening", new_state="thinking")
        return message.created_at, event.created_at, message.id, shortuuid("x_")

    first, again, other = run(main), run(main), run(main, seed=1)
    assert first[0] == first[1] == EPOCH_S + START_S + 5.0
    assert first == again
    assert first[2:] != other[2:]


def test_afterwards_livekit_has_its_time_back() -> None:
    async def main() -> None:
        await asyncio.sleep(1.0)

    run(main())
    assert misc.time is time  # type: ignore[attr-defined]
    before = time.time()
    message = llm.ChatMessage(role="user", content=["hello"])
    assert before <= message.created_at <= time.time()
    assert llm.ChatMessage(role="user", content=[""]).id != llm.ChatMessage(role="user", content=[""]).id


def test_the_time_comes_back_after_an_error_too() -> None:
    class Fixed:
        def now(self) -> float:
            return 1.0

        def wall(self) -> float:
            return 2.0

    with pytest.raises(RuntimeError), livekit_sees(Fixed()):  # noqa: PT012
        assert llm.ChatMessage(role="user", content=[""]).created_at == 2.0
        raise RuntimeError
    assert misc.time is time  # type: ignore[attr-defined]
