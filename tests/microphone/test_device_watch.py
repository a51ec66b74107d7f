"""Lost devices and devices with too many xruns."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.microphone.sound_double import LATENCY_S, OpenCall, ends, level, until
from voice_agent.audio.samples import CAPTURED_AT
from voice_agent.config import AudioConfig
from voice_agent.microphone.sound_system import Device


async def test_a_device_that_vanishes_and_comes_back(call: OpenCall) -> None:
    system = call.system
    async with call.open() as mic:
        voice = (np.arange(48_000) % 9000 + 500).astype(np.int16)
        await call.speak(voice)
        mic.output.flush()
        await system.run(30)
        before = call.heard()
        here, system.present = system.present, []
        system.stream("output").alive = False
        await until(lambda: system.refreshed >= 2)
        assert "the loudspeaker 'Headset' is gone" in call.events[0]
        assert call.finished == []
        system.clock.advance(2.0)
        system.present = here
        await until(lambda: len(call.events) == 2)
        await system.run(80)
        assert "the call goes on" in call.events[1]
    again = call.heard()
    back = 30 * 480 - round(LATENCY_S * 48_000)  # what the old device had in its buffer is played again
    assert (before == voice[: 30 * 480]).all()
    assert (again[: 48_000 - back] == voice[back:]).all()
    assert ends(call) == [(1.0, False)]
    assert len(call.audible) == 1
    assert all(stream.closed for stream in system.streams)


async def test_a_device_that_loses_sound_gets_more_latency(call: OpenCall) -> None:
    """Only that device; not while somebody speaks; and the reply misses nothing."""
    system = call.system

    def latencies() -> list[tuple[str, float]]:
        return [(stream.kind, stream.latency_s) for stream in system.streams]

    async with call.open() as mic:
        await system.run(200)
        voice = (np.arange(9600) % 9000 + 500).astype(np.int16)
        await call.speak(voice)
        await system.run(5)
        for _ in range(3):
            system.out(0.025, xrun=True)
            await asyncio.sleep(0.4)  # looked at in between
        assert "0 times at the microphone, 1 times at the loudspeaker" in call.events[0]
        assert len(system.streams) == 2  # the agent speaks
        mic.output.flush()
        await system.run(30)
        assert ends(call) == [(0.2, False)]
        await until(lambda: len(call.events) == 2)
        assert call.events[1].endswith("latency raised: the loudspeaker is asked for 40 ms")
        await system.run(30)
        assert len(await call.frames()) > 30  # and the microphone goes on
    assert latencies() == [("output", 0.02), ("input", 0.02), ("output", 0.04), ("input", 0.02)]
    assert system.refreshed == 0


async def test_the_frames_go_on_in_time(call: OpenCall) -> None:
    system = call.system
    async with call.open():
        await system.run(10)
        system.stream("input").alive = False
        await until(lambda: len(call.events) == 2)
        system.clock.advance(5.0)
        await system.run(10)
        captured = [f.userdata[CAPTURED_AT] for f in await call.frames()]
    assert captured[9] == pytest.approx(100.1)
    assert captured[10] == pytest.approx(105.11)


async def test_another_device_with_another_rate(call: OpenCall) -> None:
    system = call.system
    async with call.open() as mic:
        voice = (8000 * np.sin(np.arange(48_000) * 2 * np.pi * 300 / 48_000)).astype(np.int16)
        await call.speak(voice)
        await system.run(50)
        system.rates = (44_100,)
        system.present = [Device(7, "Built-in", "Test", 1, 1, 44_100, default_input=True, default_output=True)]
        system.stream("output").alive = False
        await until(lambda: len(call.events) == 2)
        assert "Built-in 44.1 kHz" in mic.description
        await call.speak(voice)
        mic.output.flush()
        await system.run(160)
    assert call.finished[0].playback_position == pytest.approx(2.0, abs=0.001)
    assert call.gaps == [(0, 0.0)]
    heard = call.heard().astype(float)
    assert np.count_nonzero(np.abs(heard) > 100) / 44_100 == pytest.approx(1.5 + LATENCY_S, abs=0.03)


async def test_a_reply_is_interrupted_while_there_is_no_device(call: OpenCall) -> None:
    system = call.system
    async with call.open() as mic:
        await call.speak(level(48_000))
        mic.output.flush()
        await system.run(30)
        here, system.present = system.present, []
        system.stream("output").alive = False
        await until(lambda: system.refreshed >= 1)
        mic.output.clear_buffer()
        assert ends(call) == [(0.3, True)]
        system.present = here
        await until(lambda: len(call.events) == 2)
        await system.run(10)
        assert not call.heard().any()


async def test_a_device_that_falls_silent_is_lost(call: OpenCall) -> None:
    async with call.open():
        await call.system.run(3)
        call.system.clock.advance(4.0)
        await until(lambda: bool(call.events))
        assert "the microphone 'Headset' and the loudspeaker 'Headset' is gone" in call.events[0]


async def test_the_named_device_is_waited_for_unless_a_new_default_appears(call: OpenCall) -> None:
    system = call.system
    old = Device(1, "Old speakers", "Test", 1, 1, 48_000)
    system.present = [Device(0, "Jabra", "Test", 1, 1, 48_000), old]
    system.present[1] = Device(1, "Old speakers", "Test", 1, 1, 48_000, default_input=True, default_output=True)
    named = AudioConfig(input="jabra", output="jabra", aec=False, noise_suppression=False, gain_control=False)
    async with call.open(named) as mic:
        system.present = system.present[1:]
        system.stream("output").alive = False
        await until(lambda: system.refreshed >= 3)
        assert len(call.events) == 1  # the old default is not what was asked for
        system.present = [Device(5, "Dock", "Test", 1, 1, 48_000, default_input=True, default_output=True)]
        await until(lambda: len(call.events) == 2)
        assert "Dock" in mic.description
