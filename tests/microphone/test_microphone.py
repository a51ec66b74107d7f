"""The microphone end on a sound system that moves only when told to."""

from __future__ import annotations

import asyncio
import contextlib
import wave
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT, TimedString
from livekit.agents.voice.io import PlaybackFinishedEvent

from voice_agent.audio.samples import CAPTURED_AT
from voice_agent.audio.timeline import AUDIBLE, RECORD_RATE
from voice_agent.clock import ManualClock
from voice_agent.config import AudioConfig
from voice_agent.errors import AudioError, UsageError
from voice_agent.microphone.microphone import Microphone, Strain, microphone
from voice_agent.microphone.sound_system import Callback, Device, Kind, Stream

Int16 = npt.NDArray[np.int16]
PLAIN = AudioConfig(aec=False, noise_suppression=False, gain_control=False)
LATENCY_S = 0.025  # of the loudspeaker: how long after the callback its first sample is heard


def level(n: int, value: int = 1000) -> Int16:
    return np.full(n, value, np.int16)


@dataclass
class Tape:
    """A stream of the double: the loudspeaker's keeps what was played."""

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


class Bench:
    """The sound system: one headset, and a block of both directions for each call of :meth:`run`."""

    def __init__(self, clock: ManualClock, *, rates: tuple[int, ...] = (16_000, 48_000)) -> None:
        self.clock = clock
        self.rates = rates
        self.present = [Device(0, "Headset", "Test", 1, 1, rates[0], default_input=True, default_output=True)]
        self.tapes: list[Tape] = []
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
        self.tapes.append(Tape(kind, rate, callback, latency_s))
        return self.tapes[-1]

    def refresh(self) -> None:
        assert all(tape.closed for tape in self.tapes)
        self.refreshed += 1

    def tape(self, kind: Kind) -> Tape:
        return [tape for tape in self.tapes if tape.kind == kind][-1]

    def out(self, until_s: float = LATENCY_S, xrun: bool = False) -> None:
        tape = self.tape("output")
        block = level(tape.rate // 100, 77)
        tape.callback(block, until_s, xrun)
        tape.played.append(block)

    def into(self, pcm: Int16, age_s: float = 0.01, xrun: bool = False) -> None:
        self.tape("input").callback(pcm, age_s, xrun)

    async def run(self, blocks: int, pcm: Int16 | None = None) -> None:
        """10 ms for each block; the microphone hears ``pcm``, else nothing."""
        size = self.tape("input").rate // 100
        for i in range(blocks):
            self.clock.advance(0.01)
            piece = level(0) if pcm is None else pcm[i * size : (i + 1) * size]
            self.out()
            self.into(np.concatenate([piece, level(size - len(piece), 0)]))
            await asyncio.sleep(0)


@dataclass
class Call:
    """A microphone end on a bench, with everything it reports."""

    bench: Bench
    audible: list[float] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    finished: list[PlaybackFinishedEvent] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    mic: Microphone = field(init=False)

    @contextlib.asynccontextmanager
    async def open(self, settings: AudioConfig = PLAIN, record: Path | None = None) -> AsyncIterator[Microphone]:
        async with microphone(
            settings,
            on_audible=self.audible.append,
            on_gaps=lambda n, ms: self.gaps.append((n, ms)),
            on_event=self.events.append,
            record=record,
            clock=self.bench.clock,
            sound=self.bench,
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
        return self.bench.tape("output").pcm()

    async def frames(self) -> list[rtc.AudioFrame]:
        found = []
        with contextlib.suppress(TimeoutError):
            while True:
                found.append(await asyncio.wait_for(anext(self.mic.input), 0.01))
        return found


def ends(call: Call) -> list[tuple[float, bool]]:
    """How each segment ended: seconds that were heard (to the millisecond), interrupted or not."""
    return [(round(e.playback_position, 3), e.interrupted) for e in call.finished]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for is another task's doing, which sets no event
            await asyncio.sleep(0.005)


@pytest.fixture
def call() -> Call:
    return Call(Bench(ManualClock(100.0)))


class TestInput:
    async def test_frames_are_what_the_device_gave(self, call: Call) -> None:
        async with call.open():
            said = (np.arange(3200) % 7000).astype(np.int16)
            await call.bench.run(30, said)
            frames = await call.frames()
        assert len(frames) == 30
        assert {(f.sample_rate, f.num_channels, f.samples_per_channel) for f in frames} == {(16_000, 1, 160)}
        heard = np.concatenate([np.frombuffer(f.data, np.int16) for f in frames])
        assert (heard[:3200] == said).all()
        assert not heard[3200:].any()

    async def test_each_frame_knows_when_it_was_captured(self, call: Call) -> None:
        """A late callback does not count, and the age that the device reports beyond the block is taken off."""
        clock = call.bench.clock
        async with call.open():
            for i, late in enumerate((0.0, 0.004, 0.009, 0.0, 0.006)):
                clock.advance(100.01 + 0.01 * i + late - clock.now())
                call.bench.into(level(160), age_s=0.01 + 0.007)
                await asyncio.sleep(0)
            frames = await call.frames()
        captured = [frame.userdata[CAPTURED_AT] for frame in frames]
        assert captured == [pytest.approx(100.0 + 0.01 * (i + 1) - 0.007, abs=1e-6) for i in range(5)]

    async def test_the_processing_s_delay_is_taken_off(self, call: Call) -> None:
        async with call.open(AudioConfig(gain_control=False)) as mic:
            await call.bench.run(5)
            frames = await call.frames()
            assert [round(ms, 3) for ms in mic.latency_ms] == [36.0, 25.0]
            assert mic.description == "input: Headset 16 kHz, output: Headset 48 kHz, echo cancellation on"
        assert frames[-1].userdata[CAPTURED_AT] == pytest.approx(100.05 - 0.016)

    @pytest.mark.parametrize("rate", [44_100, 48_000])
    async def test_another_rate_is_resampled_without_a_seam(self, rate: int) -> None:
        call = Call(Bench(ManualClock(), rates=(rate,)))
        said = (8000 * np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)).astype(np.int16)
        async with call.open() as mic:
            assert f"{rate / 1000:g} kHz" in mic.description
            await call.bench.run(110, said)
            frames = await call.frames()
        heard = np.concatenate([np.frombuffer(f.data, np.int16) for f in frames]).astype(float)
        turn = np.exp(2j * np.pi * 440 * np.arange(200, 15_800) / 16_000)
        tone = 2 * np.mean(heard[200:15_800] * np.conj(turn))  # what a sine of 440 Hz in it is like
        assert abs(tone) == pytest.approx(8000, rel=0.01)
        late_s = -(np.angle(tone) + np.pi / 2) / (2 * np.pi * 440)
        assert late_s == pytest.approx(0, abs=0.0003)
        assert np.abs(heard[200:15_800] - (tone * turn).real).max() < 80  # and nothing else is in it
        # 10 ms are at most 2 blocks late, evenly
        assert call.bench.clock.now() - frames[-1].userdata[CAPTURED_AT] < 0.025

    async def test_late_is_not_lost(self, call: Call) -> None:
        """The event loop stalls for 2 s; everything is there afterwards, in order."""
        async with call.open():
            said = (np.arange(32_000) % 7000).astype(np.int16)
            for i in range(200):
                call.bench.clock.advance(0.01)
                call.bench.into(said[i * 160 : (i + 1) * 160])
            frames = await call.frames()
            heard = np.concatenate([np.frombuffer(f.data, np.int16) for f in frames])
            assert (heard == said).all()
            assert call.mic.input_xruns == 0

    async def test_lost_sound_is_counted_and_told(self, call: Call) -> None:
        async with call.open() as mic:
            call.bench.into(level(160), xrun=True)
            call.bench.out(xrun=True)
            call.bench.out(xrun=True)
            assert (mic.input_xruns, mic.output_xruns) == (1, 2)
            await until(lambda: bool(call.events))
            assert "1 times at the microphone, 2 times at the loudspeaker" in call.events[0]
            for _ in range(1100):  # 11 s that nobody takes: the ring holds 10
                call.bench.into(level(160))
            assert mic.input_xruns > 100

    async def test_while_nobody_speaks_the_ears_get_whole_windows(self, call: Call) -> None:
        """A window of the ears' (512 samples) is complete when it always was; only its parts are not told of."""
        bench = call.bench
        said = (np.arange(16_000) % 7000).astype(np.int16)
        async with call.open() as mic:
            mic.resting = True
            arrived: list[rtc.AudioFrame] = []
            for i in range(64):
                await bench.run(1, said[i * 160 : (i + 1) * 160])
                arrived += await call.frames()
                have = sum(frame.samples_per_channel for frame in arrived)
                assert have // 512 == (i + 1) * 160 // 512
            assert [frame.samples_per_channel for frame in arrived[:5]] == [640, 480, 480, 480, 480]
            mic.resting = False
            for i in range(64, 68):
                await bench.run(1, said[i * 160 : (i + 1) * 160])
            arrived += await call.frames()
        assert [frame.samples_per_channel for frame in arrived[-4:]] == [160] * 4
        heard = np.concatenate([np.frombuffer(frame.data, np.int16) for frame in arrived])
        assert (heard == said[: 68 * 160]).all()
        assert arrived[0].userdata[CAPTURED_AT] == pytest.approx(100.04)
        assert arrived[-1].userdata[CAPTURED_AT] == pytest.approx(100.68)

    async def test_mute(self, call: Call) -> None:
        async with call.open() as mic:
            assert mic.level_dbfs == -96
            mic.muted = True
            await call.bench.run(10, level(1600, 3277))
            assert mic.level_dbfs == pytest.approx(-20, abs=0.1)
            mic.muted = False
            await call.bench.run(10, level(1600, 3277))
            frames = await call.frames()
        assert [bool(np.frombuffer(f.data, np.int16).any()) for f in frames] == [False] * 10 + [True] * 10
        assert len({round(f.userdata[CAPTURED_AT] * 100) for f in frames}) == 20

    async def test_nobody_listens(self, call: Call) -> None:
        async with call.open() as mic:
            mic.input.on_detached()
            await call.bench.run(5)
            mic.input.on_attached()
            await call.bench.run(3)
            assert len(await call.frames()) == 3


class TestOutput:
    async def test_played_to_the_end(self, call: Call) -> None:
        async with call.open() as mic:
            await call.bench.run(2)
            await call.speak(level(4800))
            mic.output.flush()
            await call.bench.run(10)
            assert call.finished == []  # its last sample has been handed over, and is heard 25 ms later
            await call.bench.run(4)
        assert (call.heard()[960:5760] == 1000).all()
        assert not call.heard()[5760:].any()
        assert ends(call) == [(0.1, False)]
        assert call.gaps == [(0, 0.0)]
        assert call.started == [pytest.approx(100.03 + LATENCY_S)]
        assert mic.output.last_audible_end == pytest.approx(100.13 + LATENCY_S)

    async def test_first_audible(self, call: Call) -> None:
        async with call.open() as mic:
            await call.speak(level(4800, AUDIBLE))
            loud = level(4800, -AUDIBLE - 1)
            loud[:100] = 0
            await call.speak(loud)
            await call.bench.run(10)
            assert (call.audible, mic.output.audible_since) == ([], None)
            await call.bench.run(10)
            assert call.audible == [pytest.approx(100.11 + LATENCY_S + 100 / 48_000)]
            assert mic.output.audible_since == call.audible[0]

    async def test_the_voice_s_rate_is_the_device_s(self, call: Call) -> None:
        voice = (8000 * np.sin(np.arange(22_050) * 2 * np.pi * 300 / 22_050)).astype(np.int16)
        async with call.open() as mic:
            for i in range(0, len(voice), 4410):
                await call.speak(voice[i : i + 4410], 22_050)
            mic.output.flush()
            await call.bench.run(105)
        want = 8000 * np.sin(np.arange(48_000) * 2 * np.pi * 300 / 48_000)
        assert np.abs(call.heard()[500:47_500] - want[500:47_500]).max() < 80
        assert call.finished[0].playback_position == pytest.approx(1.0, abs=0.0001)
        assert call.gaps == [(0, 0.0)]

    async def test_where_it_ran_dry(self, call: Call) -> None:
        async with call.open() as mic:
            await call.speak(level(4800))
            await call.bench.run(15)  # 50 ms of nothing
            await call.speak(level(4800))
            await call.bench.run(12)  # 20 ms
            await call.speak(level(480))
            mic.output.flush()
            await call.bench.run(20)  # nothing after the end is a gap
        assert [(n, round(ms, 3)) for n, ms in call.gaps] == [(2, 70.0)]
        assert call.finished[0].playback_position == pytest.approx(0.21)

    async def test_pause_and_resume_lose_nothing(self, call: Call) -> None:
        async with call.open() as mic:
            voice = (np.arange(48_000) % 9000 + 500).astype(np.int16)
            await call.speak(voice)
            mic.output.flush()
            await call.bench.run(20)
            mic.output.pause()
            assert mic.output.paused
            await call.bench.run(30)
            mic.output.resume()
            await call.bench.run(90)
        heard = call.heard()
        stop = 21 * 480  # one block fades out
        assert (heard[: 20 * 480] == voice[: 20 * 480]).all()
        assert not heard[stop : stop + 29 * 480].any()
        assert (heard[stop + 30 * 480 : stop + 30 * 480 + 48_000 - 22 * 480] == voice[22 * 480 :]).all()
        assert (np.abs(heard[20 * 480 : stop]) <= voice[20 * 480 : stop]).all()
        assert ends(call) == [(1.0, False)]
        assert call.gaps == [(0, 0.0)]  # a pause is no gap
        assert len(call.audible) == 1

    async def test_an_interruption_is_silent_within_two_blocks(self, call: Call) -> None:
        async with call.open() as mic:
            await call.speak(level(96_000))
            await call.bench.run(40)
            mic.output.clear_buffer()
            await call.bench.run(1)
            assert len(call.finished) == 1
            await call.speak(level(4800, 555))  # LiveKit's forwarding has not noticed yet: nobody hears this
            mic.output.flush()
            await call.bench.run(10)
            assert len(call.finished) == 1
        heard = call.heard()
        assert heard[: 40 * 480].all()
        assert heard[40 * 480 : 41 * 480 - 1].max() <= 1000  # fades out
        assert not heard[41 * 480 :].any()
        assert ends(call) == [(0.41, True)]

    async def test_the_words_that_were_heard(self, call: Call) -> None:
        words = [
            TimedString(t, start_time=i * 0.2, end_time=i * 0.2 + 0.2) for i, t in enumerate(["one ", "two ", "x"])
        ]
        async with call.open() as mic:
            await call.speak(level(48_000), words=words)
            mic.output.flush()
            await call.bench.run(35)
            mic.output.clear_buffer()
            await call.bench.run(1)
        assert call.finished[0].synchronized_transcript == "one two"

    async def test_interrupted_while_paused(self, call: Call) -> None:
        async with call.open() as mic:
            await call.speak(level(48_000))
            mic.output.flush()
            await call.bench.run(10)
            mic.output.pause()
            await call.bench.run(10)
            mic.output.clear_buffer()
            await call.bench.run(1)
            assert ends(call) == [(0.11, True)]
            mic.output.resume()
            await call.bench.run(5)
            assert not call.heard()[11 * 480 :].any()

    async def test_segments_back_to_back(self, call: Call) -> None:
        async with call.open() as mic:
            for value in (1000, 2000):
                await call.speak(level(4800, value))
                mic.output.flush()
            await call.bench.run(30)
        assert [e.playback_position for e in call.finished] == [pytest.approx(0.1)] * 2
        assert call.audible == [pytest.approx(100.01 + LATENCY_S), pytest.approx(100.11 + LATENCY_S)]
        assert len(call.started) == 2
        assert call.gaps == [(0, 0.0)] * 2

    async def test_segments_back_to_back_are_interrupted_together(self, call: Call) -> None:
        async with call.open() as mic:
            for value in (1000, 2000):
                await call.speak(level(4800, value))
                mic.output.flush()
            await call.bench.run(4)
            mic.output.clear_buffer()
            await call.speak(level(4800, 3000))  # and the next speech comes at once
            mic.output.flush()
            await call.bench.run(20)
        assert ends(call) == [
            (0.05, True), (0.0, True), (0.1, False),
        ]  # fmt: skip
        assert (call.heard()[5 * 480 : 15 * 480] == 3000).all()

    async def test_nothing_to_interrupt(self, call: Call) -> None:
        async with call.open() as mic:
            mic.output.clear_buffer()
            mic.output.flush()
            await call.bench.run(3)
        assert (call.finished, call.gaps) == ([], [])

    async def test_a_long_reply_waits_for_room(self, call: Call) -> None:
        async with call.open() as mic:
            speaking = asyncio.create_task(call.speak(level(40 * 48_000)))  # 40 s; the ring holds 30
            await call.bench.run(2)
            assert not speaking.done()
            await call.bench.run(1500)
            await asyncio.wait_for(speaking, 5)
            mic.output.flush()
            await call.bench.run(2510)
        assert call.finished[0].playback_position == pytest.approx(40.0)
        assert call.gaps == [(0, 0.0)]

    async def test_a_long_reply_is_interrupted_while_it_waits(self, call: Call) -> None:
        async with call.open() as mic:
            speaking = asyncio.create_task(call.speak(level(40 * 48_000)))
            await call.bench.run(2)
            mic.output.clear_buffer()
            await asyncio.wait_for(speaking, 5)
            await call.bench.run(2)
        assert call.finished[0].interrupted


class TestDevices:
    async def test_a_device_that_vanishes_and_comes_back(self, call: Call) -> None:
        bench = call.bench
        async with call.open() as mic:
            voice = (np.arange(48_000) % 9000 + 500).astype(np.int16)
            await call.speak(voice)
            mic.output.flush()
            await bench.run(30)
            before = call.heard()
            here, bench.present = bench.present, []
            bench.tape("output").alive = False
            await until(lambda: bench.refreshed >= 2)
            assert "the loudspeaker 'Headset' is gone" in call.events[0]
            assert call.finished == []
            bench.clock.advance(2.0)
            bench.present = here
            await until(lambda: len(call.events) == 2)
            await bench.run(80)
            assert "the call goes on" in call.events[1]
        again = call.heard()
        back = 30 * 480 - round(LATENCY_S * 48_000)  # what the old device had in its buffer is played again
        assert (before == voice[: 30 * 480]).all()
        assert (again[: 48_000 - back] == voice[back:]).all()
        assert ends(call) == [(1.0, False)]
        assert len(call.audible) == 1
        assert all(tape.closed for tape in bench.tapes)

    async def test_a_device_that_loses_sound_gets_more_latency(self, call: Call) -> None:
        """Only that device; not while somebody speaks; and the reply misses nothing."""
        bench = call.bench

        def latencies() -> list[tuple[str, float]]:
            return [(tape.kind, tape.latency_s) for tape in bench.tapes]

        async with call.open() as mic:
            await bench.run(200)
            voice = (np.arange(9600) % 9000 + 500).astype(np.int16)
            await call.speak(voice)
            await bench.run(5)
            for _ in range(3):
                bench.out(0.025, xrun=True)
                await asyncio.sleep(0.4)  # looked at in between
            assert "0 times at the microphone, 1 times at the loudspeaker" in call.events[0]
            assert len(bench.tapes) == 2  # the agent speaks
            mic.output.flush()
            await bench.run(30)
            assert ends(call) == [(0.2, False)]
            await until(lambda: len(call.events) == 2)
            assert call.events[1].endswith("latency raised: the loudspeaker is asked for 40 ms")
            await bench.run(30)
            assert len(await call.frames()) > 30  # and the microphone goes on
        assert latencies() == [("output", 0.02), ("input", 0.02), ("output", 0.04), ("input", 0.02)]
        assert bench.refreshed == 0

    async def test_the_frames_go_on_in_time(self, call: Call) -> None:
        bench = call.bench
        async with call.open():
            await bench.run(10)
            bench.tape("input").alive = False
            await until(lambda: len(call.events) == 2)
            bench.clock.advance(5.0)
            await bench.run(10)
            captured = [f.userdata[CAPTURED_AT] for f in await call.frames()]
        assert captured[9] == pytest.approx(100.1)
        assert captured[10] == pytest.approx(105.11)

    async def test_another_device_with_another_rate(self, call: Call) -> None:
        bench = call.bench
        async with call.open() as mic:
            voice = (8000 * np.sin(np.arange(48_000) * 2 * np.pi * 300 / 48_000)).astype(np.int16)
            await call.speak(voice)
            await bench.run(50)
            bench.rates = (44_100,)
            bench.present = [Device(7, "Built-in", "Test", 1, 1, 44_100, default_input=True, default_output=True)]
            bench.tape("output").alive = False
            await until(lambda: len(call.events) == 2)
            assert "Built-in 44.1 kHz" in mic.description
            await call.speak(voice)
            mic.output.flush()
            await bench.run(160)
        assert call.finished[0].playback_position == pytest.approx(2.0, abs=0.001)
        assert call.gaps == [(0, 0.0)]
        heard = call.heard().astype(float)
        assert np.count_nonzero(np.abs(heard) > 100) / 44_100 == pytest.approx(1.5 + LATENCY_S, abs=0.03)

    async def test_a_reply_is_interrupted_while_there_is_no_device(self, call: Call) -> None:
        bench = call.bench
        async with call.open() as mic:
            await call.speak(level(48_000))
            mic.output.flush()
            await bench.run(30)
            here, bench.present = bench.present, []
            bench.tape("output").alive = False
            await until(lambda: bench.refreshed >= 1)
            mic.output.clear_buffer()
            assert ends(call) == [(0.3, True)]
            bench.present = here
            await until(lambda: len(call.events) == 2)
            await bench.run(10)
            assert not call.heard().any()

    async def test_a_device_that_falls_silent_is_lost(self, call: Call) -> None:
        async with call.open():
            await call.bench.run(3)
            call.bench.clock.advance(4.0)
            await until(lambda: bool(call.events))
            assert "the microphone 'Headset' and the loudspeaker 'Headset' is gone" in call.events[0]

    async def test_the_named_device_is_waited_for_unless_a_new_default_appears(self, call: Call) -> None:
        bench = call.bench
        old = Device(1, "Old speakers", "Test", 1, 1, 48_000)
        bench.present = [Device(0, "Jabra", "Test", 1, 1, 48_000), old]
        bench.present[1] = Device(1, "Old speakers", "Test", 1, 1, 48_000, default_input=True, default_output=True)
        named = AudioConfig(input="jabra", output="jabra", aec=False, noise_suppression=False, gain_control=False)
        async with call.open(named) as mic:
            bench.present = bench.present[1:]
            bench.tape("output").alive = False
            await until(lambda: bench.refreshed >= 3)
            assert len(call.events) == 1  # the old default is not what was asked for
            bench.present = [Device(5, "Dock", "Test", 1, 1, 48_000, default_input=True, default_output=True)]
            await until(lambda: len(call.events) == 2)
            assert "Dock" in mic.description

    @pytest.mark.parametrize("kind", ["input", "output"])
    async def test_a_device_that_cannot_be_opened(self, call: Call, kind: Kind) -> None:
        call.bench.refuse = kind
        with pytest.raises(AudioError, match="cannot be opened"):
            async with call.open():
                raise AssertionError("it was opened")
        assert all(tape.closed for tape in call.bench.tapes)

    async def test_no_device(self, call: Call) -> None:
        call.bench.present = []
        with pytest.raises(AudioError, match="talk --demo"):
            async with call.open():
                raise AssertionError("it was opened")

    async def test_an_unknown_device(self, call: Call) -> None:
        with pytest.raises(UsageError, match="there are: 0 Headset"):
            async with call.open(AudioConfig(input="nothing")):
                raise AssertionError("it was opened")


class TestRecording:
    async def test_both_sides_are_where_they_were_heard(self, call: Call, tmp_path: Path) -> None:
        """The user speaks at 0.5 s, the agent at 1 s; the recording has them there, the latency included."""
        path = tmp_path / "both.wav"
        async with call.open(record=path):
            said = np.concatenate([level(8000, 0), level(8000, 5000)])
            await call.bench.run(100, said)
            await call.speak(level(24_000, 7000))
            await call.bench.run(100)
            assert call.mic.timeline.agent.end > RECORD_RATE
        with wave.open(str(path)) as f:
            pcm = np.frombuffer(f.readframes(f.getnframes()), np.int16).reshape(-1, 2)
            assert f.getframerate() == RECORD_RATE
        edges = [np.flatnonzero(np.abs(side.astype(int)) > 2500)[[0, -1]] / RECORD_RATE for side in pcm.T]
        assert edges[0] == pytest.approx([0.5, 1.0], abs=0.002)
        assert edges[1] == pytest.approx([1.0 + LATENCY_S + 0.01, 1.5 + LATENCY_S + 0.01], abs=0.002)
        assert edges[1][0] == pytest.approx(call.audible[0] - 100.0, abs=0.002)

    async def test_no_recording_no_memory(self, call: Call) -> None:
        async with call.open() as mic:
            await call.bench.run(200, level(32_000))
            assert mic.timeline.user.end == mic.timeline.agent.end == 0


class TestStrain:
    def test_lost_sound_now_and_then_is_no_strain(self) -> None:
        strain = Strain()
        strain.opened(100.0, 0)
        for count, at in enumerate((102.0, 108.0, 114.0, 120.0), start=1):
            strain.look(at, count)
        assert strain.since is None

    def test_three_times_in_ten_seconds_is(self) -> None:
        strain = Strain()
        strain.opened(100.0, 5)
        for count, at in ((6, 102.0), (7, 105.0), (8, 111.0)):
            strain.look(at, count)
        assert strain.since == 111.0
        strain.opened(112.0, 8)
        assert strain.since is None

    def test_five_times_in_two_minutes_is(self) -> None:
        strain = Strain()
        strain.opened(100.0, 0)
        for count, at in enumerate((102.0, 130.0, 160.0, 190.0), start=1):
            strain.look(at, count)
        assert strain.since is None
        strain.look(222.5, 5)
        assert strain.since is None
        strain.look(249.0, 6)
        assert strain.since == 249.0

    def test_what_is_lost_as_it_opens_does_not_count(self) -> None:
        strain = Strain()
        strain.opened(100.0, 0)
        strain.look(100.5, 20)
        strain.look(101.5, 21)
        assert strain.since is None

    def test_one_underrun_that_is_reported_for_several_blocks(self) -> None:
        strain = Strain()
        strain.opened(100.0, 0)
        strain.look(102.0, 5)
        strain.look(102.25, 5)
        assert strain.since is None
        strain.look(104.0, 10)
        strain.look(106.0, 15)
        assert strain.since == 106.0
