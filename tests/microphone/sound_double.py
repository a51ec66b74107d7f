"""A sound system that moves only when a test says so, and a call on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from livekit import rtc
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString
from livekit.agents.voice.io import PlaybackFinishedEvent

from voice_agent.clock import ManualClock
from voice_agent.config import AudioConfig
from voice_agent.errors import AudioError
from voice_agent.microphone.microphone import Microphone
from voice_agent.microphone.open_microphone import open_microphone
from voice_agent.microphone.sound_system import Callback, Device, Kind, Stream

Int16 = npt.NDArray[np.int16]
PLAIN = AudioConfig(aec=False, noise_suppression=False, gain_control=False)
LATENCY_S = 0.025  # of the loudspeaker: how long after the callback its first sample is heard


def level(n: int, value: int = 1000) -> Int16:
    return np.full(n, value, np.int16)


@dataclass
class StreamDouble:
    """An open stream; the loudspeaker's keeps what was played."""

    kind: Kind
    rate: int
    callback: Callback
    latency_s: float
    alive: bool = True
    closed: bool = False
    played: list[Int16] = field(default_factory=list)

    def close(self) -> None:
        self.closed = True

    def pcm(self) -> Int16:
        return np.concatenate(self.played) if self.played else level(0)


class SoundSystemDouble:
    """A sound system with one headset. :meth:`run` calls both callbacks, one block each."""

    def __init__(self, clock: ManualClock, *, rates: tuple[int, ...] = (16_000, 48_000)) -> None:
        self.clock = clock
        self.rates = rates
        self.present = [Device(0, "Headset", "Test", 1, 1, rates[0], default_input=True, default_output=True)]
        self.streams: list[StreamDouble] = []
        self.refreshed = 0
        self.refuse = ""

    def devices(self) -> list[Device]:
        return self.present

    def supports(self, device: Device, kind: Kind, rate: int, channels: int) -> bool:
        return rate in self.rates and channels == 1

    def open(
        self, device: Device, kind: Kind, *, rate: int, channels: int, block: int, latency_s: float, callback: Callback
    ) -> Stream:
        if self.refuse == kind:
            raise AudioError(f"{kind} {device.name!r} cannot be opened")
        assert block == rate // 100
        self.streams.append(StreamDouble(kind, rate, callback, latency_s))
        return self.streams[-1]

    def refresh(self) -> None:
        assert all(stream.closed for stream in self.streams)
        self.refreshed += 1

    def stream(self, kind: Kind) -> StreamDouble:
        return [stream for stream in self.streams if stream.kind == kind][-1]

    def out(self, until_s: float = LATENCY_S, xrun: bool = False) -> None:
        stream = self.stream("output")
        block = level(stream.rate // 100, 77)
        stream.callback(block, until_s, xrun)
        stream.played.append(block)

    def into(self, pcm: Int16, age_s: float = 0.01, xrun: bool = False) -> None:
        self.stream("input").callback(pcm, age_s, xrun)

    async def run(self, blocks: int, pcm: Int16 | None = None) -> None:
        """10 ms for each block; the microphone hears ``pcm``, else nothing."""
        size = self.stream("input").rate // 100
        for i in range(blocks):
            self.clock.advance(0.01)
            piece = level(0) if pcm is None else pcm[i * size : (i + 1) * size]
            self.out()
            self.into(np.concatenate([piece, level(size - len(piece), 0)]))
            await asyncio.sleep(0)


@dataclass
class OpenCall:
    """Both devices open on a :class:`SoundSystemDouble`, and everything that they report."""

    system: SoundSystemDouble
    audible: list[float] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    finished: list[PlaybackFinishedEvent] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    mic: Microphone = field(init=False)

    @contextlib.asynccontextmanager
    async def open(self, settings: AudioConfig = PLAIN, record: Path | None = None) -> AsyncIterator[Microphone]:
        async with open_microphone(
            settings,
            on_audible=self.audible.append,
            on_gaps=lambda n, ms: self.gaps.append((n, ms)),
            on_event=self.events.append,
            record=record,
            clock=self.system.clock,
            sound_system=self.system,
            retry_s=0.01,
        ) as self.mic:
            self.mic.output.on("playback_finished", self.finished.append)
            self.mic.output.on("playback_started", lambda e: self.started.append(e.created_at))
            yield self.mic

    async def speak(self, pcm: Int16, rate: int = 48_000, words: list[TimedString] | None = None) -> None:
        frame = rtc.AudioFrame(pcm.tobytes(), rate, 1, len(pcm))
        if words:
            frame.userdata[USERDATA_TIMED_TRANSCRIPT] = words
        await self.mic.output.capture_frame(frame)

    def heard(self) -> Int16:
        """What came out of the loudspeaker since it was opened."""
        return self.system.stream("output").pcm()

    async def frames(self) -> list[rtc.AudioFrame]:
        found = []
        with contextlib.suppress(TimeoutError):
            while True:
                found.append(await asyncio.wait_for(anext(self.mic.input), 0.01))
        return found


def ends(call: OpenCall) -> list[tuple[float, bool]]:
    """How each segment ended: seconds that were heard (to the millisecond), interrupted or not."""
    return [(round(e.playback_position, 3), e.interrupted) for e in call.finished]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - another task does it and sets no event
            await asyncio.sleep(0.005)
