"""The loudspeaker: what was heard of a reply, its gaps, pauses and interruptions."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from livekit.agents.types import TimedString

from tests.microphone.sound_double import LATENCY_S, OpenCall, ends, level
from voice_agent.audio.timeline import AUDIBLE


async def test_played_to_the_end(call: OpenCall) -> None:
    async with call.open() as mic:
        await call.system.run(2)
        await call.speak(level(4800))
        mic.output.flush()
        await call.system.run(10)
        assert call.finished == []  # its last sample has been handed over, and is heard 25 ms later
        await call.system.run(4)
    assert (call.heard()[960:5760] == 1000).all()
    assert not call.heard()[5760:].any()
    assert ends(call) == [(0.1, False)]
    assert call.gaps == [(0, 0.0)]
    assert call.started == [pytest.approx(100.03 + LATENCY_S)]
    assert mic.output.last_audible_end == pytest.approx(100.13 + LATENCY_S)


async def test_first_audible(call: OpenCall) -> None:
    async with call.open() as mic:
        await call.speak(level(4800, AUDIBLE))
        loud = level(4800, -AUDIBLE - 1)
        loud[:100] = 0
        await call.speak(loud)
        await call.system.run(10)
        assert (call.audible, mic.output.audible_since) == ([], None)
        await call.system.run(10)
        assert call.audible == [pytest.approx(100.11 + LATENCY_S + 100 / 48_000)]
        assert mic.output.audible_since == call.audible[0]


async def test_the_voice_s_rate_is_the_device_s(call: OpenCall) -> None:
    voice = (8000 * np.sin(np.arange(22_050) * 2 * np.pi * 300 / 22_050)).astype(np.int16)
    async with call.open() as mic:
        for i in range(0, len(voice), 4410):
            await call.speak(voice[i : i + 4410], 22_050)
        mic.output.flush()
        await call.system.run(105)
    want = 8000 * np.sin(np.arange(48_000) * 2 * np.pi * 300 / 48_000)
    assert np.abs(call.heard()[500:47_500] - want[500:47_500]).max() < 80
    assert call.finished[0].playback_position == pytest.approx(1.0, abs=0.0001)
    assert call.gaps == [(0, 0.0)]


async def test_where_it_ran_dry(call: OpenCall) -> None:
    async with call.open() as mic:
        await call.speak(level(4800))
        await call.system.run(15)  # 50 ms of nothing
        await call.speak(level(4800))
        await call.system.run(12)  # 20 ms
        await call.speak(level(480))
        mic.output.flush()
        await call.system.run(20)  # nothing after the end is a gap
    assert [(n, round(ms, 3)) for n, ms in call.gaps] == [(2, 70.0)]
    assert call.finished[0].playback_position == pytest.approx(0.21)


async def test_pause_and_resume_lose_nothing(call: OpenCall) -> None:
    async with call.open() as mic:
        voice = (np.arange(48_000) % 9000 + 500).astype(np.int16)
        await call.speak(voice)
        mic.output.flush()
        await call.system.run(20)
        mic.output.pause()
        assert mic.output.paused
        await call.system.run(30)
        mic.output.resume()
        await call.system.run(90)
    heard = call.heard()
    stop = 21 * 480  # one block fades out
    assert (heard[: 20 * 480] == voice[: 20 * 480]).all()
    assert not heard[stop : stop + 29 * 480].any()
    assert (heard[stop + 30 * 480 : stop + 30 * 480 + 48_000 - 22 * 480] == voice[22 * 480 :]).all()
    assert (np.abs(heard[20 * 480 : stop]) <= voice[20 * 480 : stop]).all()
    assert ends(call) == [(1.0, False)]
    assert call.gaps == [(0, 0.0)]  # a pause is no gap
    assert len(call.audible) == 1


async def test_an_interruption_is_silent_within_two_blocks(call: OpenCall) -> None:
    async with call.open() as mic:
        await call.speak(level(96_000))
        await call.system.run(40)
        mic.output.clear_buffer()
        await call.system.run(1)
        assert len(call.finished) == 1
        await call.speak(level(4800, 555))  # LiveKit's forwarding has not noticed yet: nobody hears this
        mic.output.flush()
        await call.system.run(10)
        assert len(call.finished) == 1
    heard = call.heard()
    assert heard[: 40 * 480].all()
    assert heard[40 * 480 : 41 * 480 - 1].max() <= 1000  # fades out
    assert not heard[41 * 480 :].any()
    assert ends(call) == [(0.41, True)]


async def test_the_words_that_were_heard(call: OpenCall) -> None:
    words = [TimedString(t, start_time=i * 0.2, end_time=i * 0.2 + 0.2) for i, t in enumerate(["one ", "two ", "x"])]
    async with call.open() as mic:
        await call.speak(level(48_000), words=words)
        mic.output.flush()
        await call.system.run(35)
        mic.output.clear_buffer()
        await call.system.run(1)
    assert call.finished[0].synchronized_transcript == "one two"


async def test_interrupted_while_paused(call: OpenCall) -> None:
    async with call.open() as mic:
        await call.speak(level(48_000))
        mic.output.flush()
        await call.system.run(10)
        mic.output.pause()
        await call.system.run(10)
        mic.output.clear_buffer()
        await call.system.run(1)
        assert ends(call) == [(0.11, True)]
        mic.output.resume()
        await call.system.run(5)
        assert not call.heard()[11 * 480 :].any()


async def test_segments_back_to_back(call: OpenCall) -> None:
    async with call.open() as mic:
        for value in (1000, 2000):
            await call.speak(level(4800, value))
            mic.output.flush()
        await call.system.run(30)
    assert [e.playback_position for e in call.finished] == [pytest.approx(0.1)] * 2
    assert call.audible == [pytest.approx(100.01 + LATENCY_S), pytest.approx(100.11 + LATENCY_S)]
    assert len(call.started) == 2
    assert call.gaps == [(0, 0.0)] * 2


async def test_segments_back_to_back_are_interrupted_together(call: OpenCall) -> None:
    async with call.open() as mic:
        for value in (1000, 2000):
            await call.speak(level(4800, value))
            mic.output.flush()
        await call.system.run(4)
        mic.output.clear_buffer()
        await call.speak(level(4800, 3000))  # and the next speech comes at once
        mic.output.flush()
        await call.system.run(20)
    assert ends(call) == [
        (0.05, True), (0.0, True), (0.1, False),
    ]  # fmt: skip
    assert (call.heard()[5 * 480 : 15 * 480] == 3000).all()


async def test_nothing_to_interrupt(call: OpenCall) -> None:
    async with call.open() as mic:
        mic.output.clear_buffer()
        mic.output.flush()
        await call.system.run(3)
    assert (call.finished, call.gaps) == ([], [])


async def test_a_long_reply_waits_for_room(call: OpenCall) -> None:
    async with call.open() as mic:
        speaking = asyncio.create_task(call.speak(level(40 * 48_000)))  # 40 s; the ring holds 30
        await call.system.run(2)
        assert not speaking.done()
        await call.system.run(1500)
        await asyncio.wait_for(speaking, 5)
        mic.output.flush()
        await call.system.run(2510)
    assert call.finished[0].playback_position == pytest.approx(40.0)
    assert call.gaps == [(0, 0.0)]


async def test_a_long_reply_is_interrupted_while_it_waits(call: OpenCall) -> None:
    async with call.open() as mic:
        speaking = asyncio.create_task(call.speak(level(40 * 48_000)))
        await call.system.run(2)
        mic.output.clear_buffer()
        await asyncio.wait_for(speaking, 5)
        await call.system.run(2)
    assert call.finished[0].interrupted
