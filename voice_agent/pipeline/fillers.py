"""Short words made ahead, in the agent's own voice: they sound the moment they are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from livekit import rtc
from livekit.agents import tts
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString

IDLE_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Sound:
    """One phrase's frames: 16-bit mono samples in pieces."""

    pieces: tuple[bytes, ...]
    sample_rate: int

    @property
    def seconds(self) -> float:
        return sum(map(len, self.pieces)) / 2 / self.sample_rate

    def frames(self) -> Iterator[rtc.AudioFrame]:
        """As a reply's frames. Their transcript is empty: what they say is no answer, and is not remembered."""
        for number, piece in enumerate(self.pieces):
            frame = rtc.AudioFrame(piece, self.sample_rate, 1, len(piece) // 2)
            if number == 0:
                frame.userdata[USERDATA_TIMED_TRANSCRIPT] = [TimedString("", start_time=0.0, end_time=0.0)]
            yield frame


async def cache_fillers(
    voice: tts.TTS[Any], phrases: Sequence[str], into: dict[str, Sound], *, idle: Callable[[], bool]
) -> None:
    """Have ``voice`` say each phrase that is not in ``into`` yet, and keep the sound there; one at a time, and only
    while ``idle()``: nobody's answer has to wait for it. Raises what the voice raises."""
    for phrase in phrases:
        if phrase in into:
            continue
        while not idle():  # noqa: ASYNC110 - a state of the conversation, not an event
            await asyncio.sleep(IDLE_POLL_S)
        pieces: list[bytes] = []
        rate = voice.sample_rate
        async with voice.synthesize(phrase) as stream:
            async for said in stream:
                pieces.append(bytes(said.frame.data))
                rate = said.frame.sample_rate
        into[phrase] = Sound(tuple(pieces), rate)
