"""Fillers ("Let me see."), synthesised in advance with the agent's own voice, so that they can be played at once."""

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
class Filler:
    """The sound of one phrase: 16-bit mono samples, in pieces as the voice gave them."""

    pieces: tuple[bytes, ...]
    sample_rate: int

    @property
    def seconds(self) -> float:
        return sum(map(len, self.pieces)) / 2 / self.sample_rate

    def frames(self) -> Iterator[rtc.AudioFrame]:
        """The frames, as of a reply, with an empty transcript: fillers are not put into the history."""
        for number, piece in enumerate(self.pieces):
            frame = rtc.AudioFrame(piece, self.sample_rate, 1, len(piece) // 2)
            if number == 0:
                frame.userdata[USERDATA_TIMED_TRANSCRIPT] = [TimedString("", start_time=0.0, end_time=0.0)]
            yield frame


async def cache_fillers(
    voice: tts.TTS[Any], phrases: Sequence[str], into: dict[str, Filler], *, idle: Callable[[], bool]
) -> None:
    """Synthesise each phrase that is not in ``into`` yet, and put it there. One at a time, and only while ``idle()``,
    so that no answer waits for it. Raises what the voice raises."""
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
        into[phrase] = Filler(tuple(pieces), rate)
