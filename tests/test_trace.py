from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from voice_agent import trace as probe
from voice_agent.clock import ManualClock
from voice_agent.trace import GenerationTrace


def test_outside_of_a_generation_notes_go_nowhere() -> None:
    assert probe.current() is None
    probe.mark("llm_requested")
    probe.fact(model="m")
    assert probe.current() is None


def test_the_first_write_of_a_mark_wins_and_the_last_of_a_fact() -> None:
    clock = ManualClock(3.0)
    trace = GenerationTrace("g", clock)
    trace.mark("a")
    clock.advance(1.0)
    trace.mark("a")
    trace.mark("b", 0.0)
    trace.mark("b", 9.0)
    trace.fact(x=1, y=1)
    trace.fact(x=2)
    assert trace.marks == {"a": 3.0, "b": 0.0}
    assert trace.facts == {"x": 2, "y": 1}


def test_a_generation_lasts_as_long_as_its_block() -> None:
    outer, inner = GenerationTrace("outer"), GenerationTrace("inner")
    with probe.generation(outer) as given:
        assert given is outer
        with probe.generation(inner):
            probe.mark("m", 1.0)
        assert probe.current() is outer
        probe.mark("n", 2.0)
    assert probe.current() is None
    assert (inner.marks, outer.marks) == ({"m": 1.0}, {"n": 2.0})


async def test_tasks_started_inside_belong_to_it() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        probe.mark("m", 1.0)

    traces = [GenerationTrace(str(i)) for i in range(3)]
    tasks = []
    for trace in traces:
        with probe.generation(trace):
            tasks.append(asyncio.create_task(work()))
    await asyncio.gather(*tasks)
    assert [t.marks for t in traces] == [{"m": 1.0}] * 3
    assert probe.current() is None


async def test_adopted_by_a_generator_for_the_rest_of_its_task() -> None:
    trace = GenerationTrace("g")

    async def node() -> AsyncIterator[int]:
        probe.adopt(trace)
        for i in range(2):
            probe.mark(f"m{i}", float(i))
            yield i

    async def consume() -> None:
        async for _ in node():
            await asyncio.sleep(0)
        probe.mark("after", 5.0)

    await asyncio.create_task(consume())
    assert trace.marks == {"m0": 0.0, "m1": 1.0, "after": 5.0}
    assert probe.current() is None


def test_what_is_provisional_is_told_to_other_threads_until_it_is_released() -> None:
    assert not probe.provisional()()
    trace = GenerationTrace("g", ManualClock(3.0))
    with probe.generation(trace):
        told = probe.provisional()
    assert not told()
    trace.hold()
    assert told()
    trace.release()
    assert not told()
