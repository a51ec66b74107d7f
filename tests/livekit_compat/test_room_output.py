"""LiveKit's output into a room, by its parts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import pytest
from livekit import rtc

from voice_agent.livekit_compat import room_output
from voice_agent.livekit_compat.room_output import ParticipantOutput
from voice_agent.livekit_compat.symbols import Symbol
from voice_agent.room.track import publish_options

RATE = 24_000


@pytest.fixture
async def unpublished() -> AsyncIterator[ParticipantOutput]:
    """An output that accepts audio as if its track had been subscribed to; nothing plays it."""
    made = ParticipantOutput(rtc.Room(), sample_rate=RATE, piece_ms=100, track_publish_options=publish_options())
    made.subscribed.set_result(None)
    yield made
    made.clear_buffer()
    await made.aclose()


def frame(ms: int) -> rtc.AudioFrame:
    samples = RATE * ms // 1000
    return rtc.AudioFrame(bytes(2 * samples), RATE, 1, samples)


async def test_what_has_been_pushed_is_counted_in_seconds(unpublished: ParticipantOutput) -> None:
    assert unpublished.pushed_s == 0.0
    await unpublished.capture_frame(frame(110))
    await unpublished.capture_frame(frame(20))
    assert unpublished.pushed_s == pytest.approx(0.13)


async def test_a_pause_and_an_interruption_are_seen(unpublished: ParticipantOutput) -> None:
    seen = [(unpublished.paused, unpublished.interrupted)]
    for change in (unpublished.pause, unpublished.resume):
        change()
        seen.append((unpublished.paused, unpublished.interrupted))
    await unpublished.capture_frame(frame(110))
    unpublished.clear_buffer()
    seen.append((unpublished.paused, unpublished.interrupted))
    assert seen == [(False, False), (True, False), (False, False), (False, True)]


async def test_another_source_takes_the_place_of_livekits(unpublished: ParticipantOutput) -> None:
    frames: list[rtc.AudioFrame] = []

    class Source(rtc.AudioSource):
        async def capture_frame(self, frame: rtc.AudioFrame) -> None:
            frames.append(frame)

    unpublished.replace_source(Source(RATE, 1, 200))
    await unpublished.capture_frame(frame(20))
    await unpublished.capture_frame(frame(400))
    forwarding = asyncio.create_task(unpublished._forward_audio())  # start() publishes as well
    await asyncio.sleep(0.05)
    forwarding.cancel()
    sizes = [round(1000 * one.duration) for one in frames]
    assert sizes[0] == 20, "the first piece is short"
    assert max(sizes) == 100
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("symbol", [room_output.OUTPUT, *room_output.PARTS, room_output.SOURCE_HANDLE], ids=str)
def test_a_release_that_lacks_a_part_is_not_built_upon(
    symbol: Symbol, without: Callable[[Symbol], None], warnings: Callable[[], list[str]]
) -> None:
    assert room_output.available()
    without(symbol)
    assert not room_output.available()
    assert any(f"has no {symbol}: in rooms, voice-to-voice is measured to the start" in text for text in warnings())


WITHOUT = """
from livekit.agents.voice.room_io import _output
del _output._ParticipantAudioOutput
from voice_agent.livekit_compat import room_output
from voice_agent.room import worker  # can be imported all the same
print(room_output.available())
"""


def test_a_worker_can_be_imported_without_the_base_of_our_output() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    assert done.stderr.count("has no livekit.agents.voice.room_io._output._ParticipantAudioOutput:") == 1
