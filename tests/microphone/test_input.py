"""The microphone's frames: samples, capture times, level, xruns."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from livekit import rtc

from tests.microphone.sound_double import OpenCall, SoundSystemDouble, level, until
from voice_agent.audio.samples import CAPTURED_AT
from voice_agent.clock import ManualClock
from voice_agent.config import AudioConfig


async def test_frames_are_what_the_device_gave(call: OpenCall) -> None:
    async with call.open():
        said = (np.arange(3200) % 7000).astype(np.int16)
        await call.system.run(30, said)
        frames = await call.frames()
    assert len(frames) == 30
    assert {(f.sample_rate, f.num_channels, f.samples_per_channel) for f in frames} == {(16_000, 1, 160)}
    heard = np.concatenate([np.frombuffer(f.data, np.int16) for f in frames])
    assert (heard[:3200] == said).all()
    assert not heard[3200:].any()


async def test_each_frame_knows_when_it_was_captured(call: OpenCall) -> None:
    """A late callback does not count, and the age that the device reports beyond the block is taken off."""
    clock = call.system.clock
    async with call.open():
        for i, late in enumerate((0.0, 0.004, 0.009, 0.0, 0.006)):
            clock.advance(100.01 + 0.01 * i + late - clock.now())
            call.system.into(level(160), age_s=0.01 + 0.007)
            await asyncio.sleep(0)
        frames = await call.frames()
    captured = [frame.userdata[CAPTURED_AT] for frame in frames]
    assert captured == [pytest.approx(100.0 + 0.01 * (i + 1) - 0.007, abs=1e-6) for i in range(5)]


async def test_the_processing_s_delay_is_taken_off(call: OpenCall) -> None:
    async with call.open(AudioConfig(gain_control=False)) as mic:
        await call.system.run(5)
        frames = await call.frames()
        assert [round(ms, 3) for ms in mic.latency_ms] == [36.0, 25.0]
        assert mic.description == "input: Headset 16 kHz, output: Headset 48 kHz, echo cancellation on"
    assert frames[-1].userdata[CAPTURED_AT] == pytest.approx(100.05 - 0.016)


@pytest.mark.parametrize("rate", [44_100, 48_000])
async def test_another_rate_is_resampled_without_a_break(rate: int) -> None:
    call = OpenCall(SoundSystemDouble(ManualClock(), rates=(rate,)))
    said = (8000 * np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)).astype(np.int16)
    async with call.open() as mic:
        assert f"{rate / 1000:g} kHz" in mic.description
        await call.system.run(110, said)
        frames = await call.frames()
    heard = np.concatenate([np.frombuffer(f.data, np.int16) for f in frames]).astype(float)
    turn = np.exp(2j * np.pi * 440 * np.arange(200, 15_800) / 16_000)
    tone = 2 * np.mean(heard[200:15_800] * np.conj(turn))  # what a sine of 440 Hz in it is like
    assert abs(tone) == pytest.approx(8000, rel=0.01)
    late_s = -(np.angle(tone) + np.pi / 2) / (2 * np.pi * 440)
    assert late_s == pytest.approx(0, abs=0.0003)
    assert np.abs(heard[200:15_800] - (tone * turn).real).max() < 80  # and nothing else is in it
    # 10 ms are at most 2 blocks late, evenly
    assert call.system.clock.now() - frames[-1].userdata[CAPTURED_AT] < 0.025


async def test_late_is_not_lost(call: OpenCall) -> None:
    """The event loop stalls for 2 s; everything is there afterwards, in order."""
    async with call.open():
        said = (np.arange(32_000) % 7000).astype(np.int16)
        for i in range(200):
            call.system.clock.advance(0.01)
            call.system.into(said[i * 160 : (i + 1) * 160])
        frames = await call.frames()
        heard = np.concatenate([np.frombuffer(f.data, np.int16) for f in frames])
        assert (heard == said).all()
        assert call.mic.input_xruns == 0


async def test_lost_sound_is_counted_and_told(call: OpenCall) -> None:
    async with call.open() as mic:
        call.system.into(level(160), xrun=True)
        call.system.out(xrun=True)
        call.system.out(xrun=True)
        assert (mic.input_xruns, mic.output_xruns) == (1, 2)
        await until(lambda: bool(call.events))
        assert "1 times at the microphone, 2 times at the loudspeaker" in call.events[0]
        for _ in range(1100):  # 11 s that nobody takes: the ring holds 10
            call.system.into(level(160))
        assert mic.input_xruns > 100


async def test_while_nobody_speaks_frames_are_whole_vad_windows(call: OpenCall) -> None:
    """A VAD window (512 samples) is complete no later than before; only its parts are not handed out."""
    system = call.system
    said = (np.arange(16_000) % 7000).astype(np.int16)
    async with call.open() as mic:
        mic.resting = True
        arrived: list[rtc.AudioFrame] = []
        for i in range(64):
            await system.run(1, said[i * 160 : (i + 1) * 160])
            arrived += await call.frames()
            have = sum(frame.samples_per_channel for frame in arrived)
            assert have // 512 == (i + 1) * 160 // 512
        assert [frame.samples_per_channel for frame in arrived[:5]] == [640, 480, 480, 480, 480]
        mic.resting = False
        for i in range(64, 68):
            await system.run(1, said[i * 160 : (i + 1) * 160])
        arrived += await call.frames()
    assert [frame.samples_per_channel for frame in arrived[-4:]] == [160] * 4
    heard = np.concatenate([np.frombuffer(frame.data, np.int16) for frame in arrived])
    assert (heard == said[: 68 * 160]).all()
    assert arrived[0].userdata[CAPTURED_AT] == pytest.approx(100.04)
    assert arrived[-1].userdata[CAPTURED_AT] == pytest.approx(100.68)


async def test_mute(call: OpenCall) -> None:
    async with call.open() as mic:
        assert mic.level_dbfs == -96
        mic.muted = True
        await call.system.run(10, level(1600, 3277))
        assert mic.level_dbfs == pytest.approx(-20, abs=0.1)
        mic.muted = False
        await call.system.run(10, level(1600, 3277))
        frames = await call.frames()
    assert [bool(np.frombuffer(f.data, np.int16).any()) for f in frames] == [False] * 10 + [True] * 10
    assert len({round(f.userdata[CAPTURED_AT] * 100) for f in frames}) == 20


async def test_nobody_listens(call: OpenCall) -> None:
    async with call.open() as mic:
        mic.input.on_detached()
        await call.system.run(5)
        mic.input.on_attached()
        await call.system.run(3)
        assert len(await call.frames()) == 3
