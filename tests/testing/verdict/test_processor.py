"""What other programs took is taken off; what a stage took for itself is not, be it work or sleep."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from voice_agent.clock import SYSTEM, ManualClock
from voice_agent.config import DebugConfig
from voice_agent.testing.harness.faults import Faults
from voice_agent.testing.scenario.stage_timing import TimedThread, TimedVoice
from voice_agent.testing.verdict.processor import (
    TASKS,
    Usage,
    Watch,
    engine_usage,
    nothing,
    own_usage,
    told_by,
    undisturbed_ms,
)
from voice_agent.tts import AudioChunk, Delivery, Stop

COUNTED = os.path.exists(f"{TASKS}/{threading.get_native_id()}/schedstat")


def test_a_lone_thread_loses_what_it_waited_for_a_processor() -> None:
    # 100 ms by the clock: 45 of work, 30 in the queue, 25 asleep. The sleep is its own.
    assert undisturbed_ms(100.0, {7: (10.0, 5.0)}, {7: (55.0, 35.0)}, 7) == pytest.approx(70.0)
    assert undisturbed_ms(100.0, {7: (10.0, 5.0)}, {7: (55.0, 5.0)}, 7) == 100.0


def test_helpers_count_and_bystanders_do_not() -> None:
    before = {1: (0.0, 0.0), 2: (0.0, 0.0), 3: (0.0, 0.0), 4: (0.0, 0.0)}
    after = {1: (2.0, 0.0), 2: (40.0, 50.0), 3: (30.0, 20.0), 4: (1.0, 90.0), 5: (60.0, 60.0)}
    # 2 and 3 did the work for 1 (4 hardly ran, 5 is new). 40 ms with waits of 50 and 20 last 100: 100 * 0.5 * 0.8 = 40.
    assert undisturbed_ms(102.0, before, after, 1) == pytest.approx(42.0)
    assert undisturbed_ms(142.0, before, after, 1) == pytest.approx(82.0)  # 40 ms of sleep are all seen
    assert undisturbed_ms(90.0, before, after, 1) == pytest.approx(42.0)  # waits at the same time: not less than it ran
    assert undisturbed_ms(140.0, before, {2: after[2], 3: after[3]}, 2) == pytest.approx(80.0)  # 2 works itself
    assert undisturbed_ms(100.0, before, {1: (0.5, 0.0), 4: (1.0, 90.0)}, 1) == 100.0  # asleep: no helper
    assert undisturbed_ms(100.0, before, {1: (2.0, 8.0), 2: (40.0, 50.0)}, 1) == pytest.approx(42.0)  # one helper


def test_where_nothing_is_counted_nothing_is_taken_off() -> None:
    assert undisturbed_ms(100.0, {}, {}, 7) == 100.0
    assert told_by(ManualClock(), own_usage) is nothing  # in made-up time real waits mean nothing
    assert told_by(SYSTEM, own_usage) is own_usage


def test_a_watch_reads_at_both_ends() -> None:
    clock, me = ManualClock(3.0), threading.get_native_id()
    readings = iter([{me: (0.0, 0.0)}, {me: (20.0, 30.0)}])
    watch = Watch(clock, lambda: next(readings))
    clock.advance(0.09)
    span = watch.stop()
    assert span.begin == 3.0
    assert span.end == pytest.approx(3.09)
    assert span.taken_ms == pytest.approx(90.0)
    assert span.own_ms == pytest.approx(60.0)


@pytest.mark.skipif(not COUNTED, reason="this system does not count what threads wait for a processor")
def test_the_system_counts_the_calling_thread() -> None:
    me = threading.get_native_id()
    before = own_usage()
    assert sum(number * number for number in range(300_000)) > 0  # no BLAS: its threads spin on for a while
    after = own_usage()
    assert set(before) == {me}
    assert after[me][0] > before[me][0]
    other = threading.Event()
    sleeper = threading.Thread(target=other.wait)
    sleeper.start()
    try:
        assert me in engine_usage()
        assert sleeper.native_id not in engine_usage()  # another of Python's: no helper of this one
    finally:
        other.set()
        sleeper.join()


def test_a_pass_lasts_until_its_thread_is_free() -> None:
    """The fault's delay comes after the function returned: a pass measured inside it would not see it."""
    faults = Faults(DebugConfig(delay_stage="stt", delay_ms=30.0))
    with ThreadPoolExecutor(1) as pool:
        # Nobody waits for a processor here, whatever runs beside the test: the readings are given.
        timed = TimedThread(faults.stt_executor(pool), SYSTEM, lambda: {threading.get_native_id(): (0.0, 0.0)})
        assert timed.submit(lambda: 7).result() == 7
        faults.stage = ""
        assert timed.submit(lambda: 8).result() == 8
    late, usual = timed.passes
    assert late.taken_ms >= 30.0
    assert late.own_ms >= 29.0  # a sleep is not the scheduler's queue
    assert usual.taken_ms < late.taken_ms
    assert timed.between(usual.end, None) == [usual]
    assert timed.between(0.0, late.end - 0.002) == []


class Voice:
    """Two pieces: 20 ms until the first, 500 until the second."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]:
        for seconds in (0.02, 0.5):
            self.clock.advance(seconds)
            yield AudioChunk(np.zeros(4, np.int16), last=seconds > 0.1)


def test_the_first_sound_is_timed_and_found_again() -> None:
    clock, me = ManualClock(1.0), threading.get_native_id()
    waited = iter([0.0, 15.0, 15.0, 15.0])

    def read() -> Usage:
        return {me: (0.0, next(waited))}

    voice = TimedVoice(Voice(clock), clock, read)
    assert len(list(voice.speak("one"))) == 2
    assert len(list(voice.speak("two"))) == 2
    first, second = voice.first_sounds
    assert (first.taken_ms, first.own_ms) == pytest.approx((20.0, 5.0))
    assert (second.taken_ms, second.own_ms) == pytest.approx((20.0, 20.0))
    assert voice.between(0.5, 1.2) is first
    assert voice.between(1.2, 2.0) is second
    assert voice.between(1.6, 2.0) is None


def test_a_late_voice_is_late_on_its_own_thread() -> None:
    faults = Faults(DebugConfig(delay_stage="tts", delay_ms=30.0))
    voice = TimedVoice(faults.voice(Voice(ManualClock())), SYSTEM)
    next(iter(voice.speak("one")))
    list(voice.speak("two", low_latency=False))  # what comes later in a reply is not what the fault delays
    late, usual = voice.first_sounds
    assert late.own_ms >= 29.0
    assert usual.own_ms < 29.0
