"""A stream that a test feeds with audio, and engines that need no model."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit import rtc
from livekit.agents import stt

from voice_agent.stt import FastWhisperSTT, Hypothesis
from voice_agent.stt.whisper_stream import WhisperStream

Int16 = npt.NDArray[np.int16]
Kind = stt.SpeechEventType
FASTER = 4.0  # than real time: passes still come in between


@dataclass
class StreamFeed:
    """Feeds a stream and collects its events."""

    stream: WhisperStream
    rate: int = 16_000
    channels: int = 1
    sizes: tuple[int, ...] = (160,)
    events: list[stt.SpeechEvent] = field(default_factory=list)

    def texts(self, kind: Kind) -> list[str]:
        return [e.alternatives[0].text for e in self.events if e.type is kind]

    def kinds(self) -> list[Kind]:
        return [e.type for e in self.events]

    def _push_frame(self, pcm: Int16) -> None:
        stereo = np.repeat(pcm[:, None], self.channels, axis=1)
        self.stream.push_frame(rtc.AudioFrame(stereo.tobytes(), self.rate, self.channels, len(pcm)))

    async def push(self, pcm: Int16) -> None:
        at, turn = 0, 0
        while at < len(pcm):
            size = self.sizes[turn % len(self.sizes)]
            self._push_frame(pcm[at : at + size])
            at, turn = at + size, turn + 1
            await asyncio.sleep(size / self.rate / FASTER)

    async def until(self, true: Callable[[StreamFeed], bool]) -> None:
        """Feed silence until ``true`` (a hung test is ended by the bound)."""
        async with asyncio.timeout(20):
            while not true(self):
                await self.push(np.zeros(self.rate // 50, np.int16))

    async def collect(self) -> None:
        async for event in self.stream:
            self.events.append(event)


def finals(n: int) -> Callable[[StreamFeed], bool]:
    return lambda feed: len(feed.texts(Kind.FINAL_TRANSCRIPT)) >= n


@contextlib.asynccontextmanager
async def listening(whisper: FastWhisperSTT, **kwargs: Any) -> AsyncIterator[StreamFeed]:
    feed = StreamFeed(whisper.stream(), **kwargs)
    task = asyncio.create_task(feed.collect())
    try:
        yield feed
    finally:
        await feed.stream.aclose()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class FakeEngine:
    """Gives ``text`` in every pass, or an error while ``failing``."""

    def __init__(self, text: str = "who wrote it", *, failing: bool = False) -> None:
        self.text = text
        self.failing = failing
        self.decoded = 0
        self.threads: set[int] = set()

    def decode(self, pcm: npt.NDArray[np.float32], *, thorough: bool = True, **_: object) -> Hypothesis:
        self.decoded += 1
        self.threads.add(threading.get_ident())
        if self.failing:
            raise RuntimeError("out of memory")
        return Hypothesis(self.text, (1,), len(pcm) / 16_000, 4.0, -0.1, 0.0)


class HastyEngine(FakeEngine):
    """Gives only some of the words in quick passes."""

    def decode(self, pcm: npt.NDArray[np.float32], *, thorough: bool = True, **_: object) -> Hypothesis:
        text, guard = (self.text, "") if thorough else ("who", "hasty")
        return Hypothesis(text, (1,), len(pcm) / 16_000, 4.0, -0.1, 0.0, guard)
