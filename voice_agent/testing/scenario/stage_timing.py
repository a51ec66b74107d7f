"""How long STT and TTS of our own agent worked in a turn, and when the agent fell silent."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

import numpy as np

from ...audio.samples import Int16
from ...audio.timeline import AUDIBLE, RECORD_RATE
from ...budget.ledger import Mark, Turn
from ...budget.stats import percentile
from ...clock import Clock
from ...config import DebugConfig
from ...tts import AudioChunk, Delivery, Stop, Synthesizer
from ..harness.faults import Faults
from ..verdict.processor import Read, Span, Watch, engine_usage, own_usage, told_by
from ..verdict.work import FIRST_SOUND_OWN_MS, OTHERS_MS, PASS_MS, PASS_OWN_MS

HUSH_S = 0.6  # longer than the pause between two sentences: the agent has stopped
P = ParamSpec("P")
T = TypeVar("T")


class TimedThread(Executor):
    """The STT's thread, and how long each pass held it.

    A pass lasts until its future is done, not until its function returns: the text waits for what ``inner`` still does
    before it frees the thread (the fault switch, for one).
    """

    def __init__(self, inner: Executor, clock: Clock, read: Read | None = None) -> None:
        self._inner, self._clock, self._read = inner, clock, read or told_by(clock, engine_usage)
        self.passes: list[Span] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        watches: list[Watch] = []

        def timed() -> T:
            watches.append(Watch(self._clock, self._read))
            return fn(*args, **kwargs)

        def done(future: Future[T]) -> None:  # on the thread that did it
            if watches:  # else it was cancelled while it waited for the thread
                self.passes.append(watches[0].stop())

        future = self._inner.submit(timed)
        future.add_done_callback(done)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._inner.shutdown(wait, cancel_futures=cancel_futures)

    def between(self, begin: float, end: float | None) -> list[Span]:
        """The passes that ended between two times, in their order."""
        return [span for span in self.passes if span.end >= begin and (end is None or span.end <= end + 0.001)]


class TimedVoice:
    """The TTS voice, and how long each text took until its first sound, on the voice's own thread."""

    def __init__(self, inner: Synthesizer, clock: Clock, read: Read | None = None) -> None:
        self._inner, self._clock, self._read = inner, clock, read or told_by(clock, own_usage)
        self.first_sounds: list[Span] = []

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]:
        watch: Watch | None = Watch(self._clock, self._read)
        for piece in self._inner.speak(text, delivery, low_latency=low_latency, stop=stop):
            if watch is not None:
                self.first_sounds.append(watch.stop())
                watch = None
            yield piece

    def between(self, begin: float, end: float) -> Span | None:
        """The first text whose speaking began between two times, or None."""
        return next((s for s in list(self.first_sounds) if begin - 0.001 <= s.begin <= end), None)


class StageTiming(Faults):
    """Times the STT passes and the first sounds of a session. Hooks for ``call_harness``; a delay of ``[debug]`` is in
    the times."""

    def __init__(self, config: DebugConfig, clock: Clock) -> None:
        super().__init__(config)
        self._clock = clock
        self._passes: TimedThread | None = None
        self._voice: TimedVoice | None = None

    def stt_executor(self, inner: Executor) -> Executor:
        self._passes = TimedThread(super().stt_executor(inner), self._clock)
        return self._passes

    def voice(self, inner: Synthesizer) -> Synthesizer:
        self._voice = TimedVoice(super().voice(inner), self._clock)
        return self._voice

    def own_times(self, began: float, row: Turn) -> dict[str, float]:
        """Milliseconds that STT and TTS worked in this turn, and that other programs took from them (work.py)."""
        found: dict[str, float] = {}
        if self._passes and (passes := self._passes.between(began, row.marks[Mark.TURN_COMMITTED])):
            found[PASS_MS] = statistics.median(span.taken_ms for span in passes)
            # The lower quartile: later passes hear more, and what cannot be taken off makes longer, never shorter.
            found[PASS_OWN_MS] = percentile((span.own_ms for span in passes), 25)
            found[OTHERS_MS] = statistics.median(span.taken_ms - span.own_ms for span in passes)
        chunk, sound = row.marks[Mark.CHUNK_READY], row.marks[Mark.TTS_FIRST_AUDIO]
        voice = self._voice
        first = voice.between(chunk, sound) if voice is not None and chunk is not None and sound is not None else None
        if first is not None:
            found[FIRST_SOUND_OWN_MS] = first.own_ms
            found[OTHERS_MS] = found.get(OTHERS_MS, 0.0) + first.taken_ms - first.own_ms
        return {name: round(ms, 2) for name, ms in found.items()}


def fell_silent_ms(agent: Int16, onset_s: float) -> float | None:
    """Milliseconds from ``onset_s`` to the agent's last audible sample before ``HUSH_S`` of silence (24 kHz).

    None if nothing audible lies before the first such silence.
    """
    loud = np.flatnonzero(np.abs(agent.astype(np.int32)) > AUDIBLE)
    if not len(loud) or loud[0] > (onset_s + HUSH_S) * RECORD_RATE:
        return None
    breaks = np.flatnonzero(np.diff(loud) > HUSH_S * RECORD_RATE)
    last = int(loud[breaks[0]] if len(breaks) else loud[-1])
    return max(0.0, (last + 1) / RECORD_RATE - onset_s) * 1000
