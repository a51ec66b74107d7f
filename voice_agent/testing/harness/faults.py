"""Makes one stage slower on purpose, to see whether the verdict finds it (docs/verdict.md).

``[debug] delay_stage = "llm"`` and ``delay_ms = 40`` in the configuration. The delay is real: the sound comes later by
the part of it that nothing else hides. A session without a stage to delay is not wrapped at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from threading import Event
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from livekit import rtc
from livekit.agents.voice import io

from ...audio.samples import Int16
from ...config import DebugConfig
from ...pipeline.hooks import PipelineHooks
from ...turn_events import BaseTurnDetector, EndOfTurn, TurnEvent

if TYPE_CHECKING:
    from ...tts import AudioChunk, Delivery, Stop, Synthesizer

P = ParamSpec("P")
T = TypeVar("T")


class Faults(PipelineHooks):
    """Delays one stage. ``stage`` may be changed while the session runs; "" is no delay."""

    def __init__(self, config: DebugConfig) -> None:
        self.stage = config.delay_stage
        self.delay_s = config.delay_ms / 1000
        self._wraps = bool(config.delay_stage)

    def of(self, stage: str) -> float:
        """Seconds by which ``stage`` is delayed at present."""
        return self.delay_s if self.stage == stage else 0.0

    def stt_executor(self, inner: Executor) -> Executor:
        """stt: every pass takes longer."""
        return _SlowExecutor(inner, self) if self._wraps else inner

    def turn_detector(self, inner: BaseTurnDetector) -> BaseTurnDetector:
        """turn: the end of turn comes later; the events after it stay in order."""
        return _SlowTurnDetector(inner, self) if self._wraps else inner

    def llm_delay_s(self) -> float:
        """llm: the request goes out later."""
        return self.of("llm")

    def voice(self, inner: Synthesizer) -> Synthesizer:
        """tts: the first sound of a reply takes longer."""
        return _SlowVoice(inner, self) if self._wraps else inner

    def output(self, inner: io.AudioOutput) -> io.AudioOutput:
        """output: the first sound of a reply is handed on later."""
        return _SlowOutput(inner, self) if self._wraps else inner


class _SlowExecutor(Executor):
    def __init__(self, inner: Executor, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        def slow() -> T:
            result = fn(*args, **kwargs)
            if delay_s := self._faults.of("stt"):
                Event().wait(delay_s)  # on the STT's own thread, as a slower model would be
            return result

        return self._inner.submit(slow)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._inner.shutdown(wait, cancel_futures=cancel_futures)


class _SlowVoice:
    def __init__(self, inner: Synthesizer, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]:
        if low_latency and (delay_s := self._faults.of("tts")):
            Event().wait(delay_s)  # on the TTS's own thread
        yield from self._inner.speak(text, delivery, low_latency=low_latency, stop=stop)


class _SlowTurnDetector:
    def __init__(self, inner: BaseTurnDetector, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._due = 0.0

    def bind(self, emit: Callable[[TurnEvent], None]) -> None:
        def later(decision: TurnEvent) -> None:
            loop = asyncio.get_running_loop()
            delay_s = self._faults.of("turn") if isinstance(decision, EndOfTurn) else 0.0
            if delay_s == 0.0 and loop.time() >= self._due:
                emit(decision)
                return
            self._due = max(self._due, loop.time() + delay_s)
            loop.call_at(self._due, emit, decision)

        self._inner.bind(later)

    def window(self, end_s: float, probability: float, pcm: Int16) -> None:
        self._inner.window(end_s, probability, pcm)

    def text(self, text: str, covers_s: float, now_s: float) -> None:
        self._inner.text(text, covers_s, now_s)

    def advance(self, now_s: float) -> None:
        self._inner.advance(now_s)

    @property
    def in_speech(self) -> bool:
        return self._inner.in_speech

    @property
    def speech_ended_s(self) -> float:
        return self._inner.speech_ended_s

    @property
    def loud_until_s(self) -> float:
        return self._inner.loud_until_s

    @property
    def wants_confirmation(self) -> bool:
        return self._inner.wants_confirmation

    async def aclose(self) -> None:
        await self._inner.aclose()


class _SlowOutput(io.AudioOutput):
    def __init__(self, inner: io.AudioOutput, faults: Faults) -> None:
        super().__init__(
            label="delayed",
            capabilities=io.AudioOutputCapabilities(pause=inner.can_pause),
            next_in_chain=inner,
            sample_rate=inner.sample_rate,
        )
        self._faults = faults
        self._first = True

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self._first:
            self._first = False
            await asyncio.sleep(self._faults.of("output"))
        await self._next.capture_frame(frame)

    @property
    def _next(self) -> io.AudioOutput:
        assert self.next_in_chain is not None
        return self.next_in_chain

    def flush(self) -> None:
        super().flush()
        self._first = True
        self._next.flush()

    def clear_buffer(self) -> None:
        self._first = True
        self._next.clear_buffer()


__all__ = ["Faults"]
