"""When a voice that many calls share makes the next piece. No model; the clock is the test's."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from voice_agent.clock import ManualClock
from voice_agent.pipeline.scheduled_voice import AHEAD_S, MARGIN_S, PROVISIONAL_DELAY_S, PROVISIONAL_S, ScheduledVoice
from voice_agent.runtime.scheduling import PrioritySemaphore
from voice_agent.tts import LOW_LATENCY_FRAMES, UNDER_LOAD_FRAMES, AudioChunk, Delivery, Stop

RATE = 1000
LENGTHS_S = (0.2, 0.3, 1.2, 2.0, 2.0)


class Pieces:
    """A voice whose pieces have the lengths LENGTHS_S, and take no time."""

    sample_rate = RATE

    def __init__(self) -> None:
        self.made = 0
        self.first: Sequence[int] = ()

    def speak(
        self,
        text: str,
        delivery: Delivery | None = None,
        *,
        low_latency: bool = True,
        first: Sequence[int] = (),
        stop: Stop | None = None,
    ) -> Iterator[AudioChunk]:
        self.first = first
        for number, length_s in enumerate(LENGTHS_S, start=1):
            self.made = number
            yield AudioChunk(np.zeros(round(length_s * RATE), np.int16), last=number == len(LENGTHS_S))


class RecordingSemaphore(PrioritySemaphore):
    """Records when each piece was due."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.due_at: list[float] = []

    def turn(self, due_at: float):  # type: ignore[no-untyped-def]
        self.due_at.append(due_at)
        return super().turn(due_at)


class Spoken:
    """A text being spoken on a thread of its own."""

    def __init__(self, clock: ManualClock, *, under_load: bool, stop: Stop, low_latency: bool = True) -> None:
        self.voice, self.semaphore, self.stop = Pieces(), RecordingSemaphore(clock), stop
        self.under_load = under_load
        scheduled = ScheduledVoice(self.voice, self.semaphore, lambda: self.under_load, clock)  # type: ignore[arg-type]
        self._thread = threading.Thread(
            target=lambda: list(scheduled.speak("text", low_latency=low_latency, stop=stop)), daemon=True
        )
        self._thread.start()

    def has_made(self, pieces: int) -> bool:
        """Whether it makes exactly this many (no further one for 50 ms)."""
        for _ in range(2000):
            if self.voice.made >= pieces:
                break
            threading.Event().wait(0.005)
        self._thread.join(0.05)
        return self.voice.made == pieces

    def end(self) -> None:
        self.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


def test_one_call_gets_its_sound_at_once(clock: ManualClock) -> None:
    spoken = Spoken(clock, under_load=False, stop=Stop(provisional=lambda: True))
    assert spoken.has_made(len(LENGTHS_S))
    spoken.end()


def test_under_load_a_provisional_reply_gets_its_first_pieces(clock: ManualClock) -> None:
    kept = threading.Event()
    spoken = Spoken(clock, under_load=True, stop=Stop(provisional=lambda: not kept.is_set()))
    assert sum(LENGTHS_S[:2]) >= PROVISIONAL_S > LENGTHS_S[0]
    assert spoken.has_made(2)
    kept.set()
    assert spoken.has_made(3), "then as much as is needed now"
    spoken.end()


def test_under_load_sound_is_made_just_ahead(clock: ManualClock) -> None:
    spoken = Spoken(clock, under_load=True, stop=Stop())
    assert spoken.has_made(3), "0.2 and 0.3 s are too little ahead, 1.7 s are enough"
    clock.advance(sum(LENGTHS_S[:3]) - AHEAD_S + 0.01)
    assert spoken.has_made(4)
    clock.advance(1.9)
    assert spoken.has_made(4)
    clock.advance(0.2)
    assert spoken.has_made(5)
    spoken.end()


def test_a_later_text_waits_while_the_one_before_it_is_played(clock: ManualClock) -> None:
    spoken = Spoken(clock, under_load=True, low_latency=False, stop=Stop(due_at=100.0 + 2 * AHEAD_S))
    assert spoken.has_made(0)
    clock.advance(AHEAD_S)
    assert spoken.has_made(1)
    spoken.end()


def test_once_the_load_is_gone_it_no_longer_waits(clock: ManualClock) -> None:
    spoken = Spoken(clock, under_load=True, stop=Stop())
    assert spoken.has_made(3)
    spoken.under_load = False
    assert spoken.has_made(len(LENGTHS_S))
    spoken.end()


def test_a_stopped_reply_does_not_wait(clock: ManualClock) -> None:
    spoken = Spoken(clock, under_load=True, stop=Stop())
    assert spoken.has_made(3)
    spoken.end()


@pytest.mark.parametrize(("provisional", "later_s"), [(False, 0.0), (True, PROVISIONAL_DELAY_S)])
def test_first_pieces_are_due_at_once_and_later_ones_before_the_sound_runs_out(
    clock: ManualClock, provisional: bool, later_s: float
) -> None:
    spoken = Spoken(clock, under_load=False, stop=Stop(provisional=lambda: provisional))
    assert spoken.has_made(len(LENGTHS_S))
    begin, steady = 100.0 + later_s, 100.0 - MARGIN_S + sum(LENGTHS_S[:3])
    assert spoken.semaphore.due_at == pytest.approx([begin, begin, begin, steady, steady + LENGTHS_S[3]])
    spoken.end()


@pytest.mark.parametrize(("under_load", "first"), [(False, LOW_LATENCY_FRAMES), (True, UNDER_LOAD_FRAMES)])
def test_under_load_the_first_pieces_are_longer(clock: ManualClock, under_load: bool, first: tuple[int, ...]) -> None:
    voice = Pieces()
    scheduled = ScheduledVoice(voice, PrioritySemaphore(clock=clock), lambda: under_load, clock)  # type: ignore[arg-type]
    next(iter(scheduled.speak("text")))
    assert voice.first == first


def test_a_piece_that_is_due_runs_on_the_calls_thread_and_one_that_is_not_on_the_other(clock: ManualClock) -> None:
    made_on: list[str] = []

    class Where(Pieces):
        def speak(self, *args: Any, **kwargs: Any) -> Iterator[AudioChunk]:
            for piece in super().speak(*args, **kwargs):
                made_on.append(threading.current_thread().name)
                yield piece

    with ThreadPoolExecutor(1, "later") as later:
        scheduled = ScheduledVoice(Where(), PrioritySemaphore(clock=clock), clock=clock, later=later)  # type: ignore[arg-type]
        assert len(list(scheduled.speak("text"))) == len(LENGTHS_S)
    here = threading.current_thread().name
    assert made_on == [here, here, here, "later_0", "later_0"]
