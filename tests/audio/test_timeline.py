from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from voice_agent.audio.timeline import RECORD_RATE, USER_RATE, Timeline, Track
from voice_agent.clock import ManualClock

Int16 = npt.NDArray[np.int16]


def level(n: int, value: int = 1000) -> Int16:
    return np.full(n, value, np.int16)


def read_stereo(path: Path) -> Int16:
    with wave.open(str(path), "rb") as f:
        assert (f.getnchannels(), f.getsampwidth(), f.getframerate()) == (2, 2, RECORD_RATE)
        return np.frombuffer(f.readframes(f.getnframes()), "<i2").reshape(-1, 2)


class TestTrack:
    def test_silence_around_what_is_placed(self) -> None:
        track = Track()
        track.place(3, level(2))
        assert track.read(0, 8).tolist() == [0, 0, 0, 1000, 1000, 0, 0, 0]
        assert track.end == 5

    def test_later_samples_overwrite_earlier_ones(self) -> None:
        track = Track()
        track.place(0, level(4, 1))
        track.place(2, level(4, 2))
        assert track.read(0, 6).tolist() == [1, 1, 2, 2, 2, 2]

    def test_it_grows(self) -> None:
        track = Track()
        far = RECORD_RATE * 1000
        track.place(5, level(1, 7))
        track.place(far, level(3, 9))
        assert track.read(far - 1, far + 4).tolist() == [0, 9, 9, 9, 0]
        assert track.read(5, 6).tolist() == [7]
        assert track.end == far + 3

    def test_reading_past_everything(self) -> None:
        assert not Track().read(10**9, 10**9 + 5).any()

    def test_what_was_not_heard_is_taken_back(self) -> None:
        track = Track()
        track.place(0, level(10))
        track.silence_from(4)
        assert track.read(0, 10).tolist() == [1000] * 4 + [0] * 6
        assert track.end == 4
        track.silence_from(8)
        assert track.end == 4


class TestPlacing:
    def test_the_user_by_samples_the_agent_by_the_clock(self) -> None:
        clock = ManualClock(100.0)
        timeline = Timeline(clock=clock)
        clock.advance(1.0)
        timeline.start()
        timeline.place_user(512, level(1600))
        timeline.place_agent(101.5, level(2205), 22_050)
        assert timeline.user.end == (512 + 1600) * RECORD_RATE // USER_RATE
        assert not timeline.user.read(0, 512 * 3 // 2 - 8).any()
        assert timeline.user.read(900, 901)[0] == pytest.approx(1000, abs=5)
        start = round(0.5 * RECORD_RATE)
        assert not timeline.agent.read(0, start).any()
        assert timeline.agent.read(start + 1000, start + 1001)[0] == pytest.approx(1000, abs=5)
        assert timeline.agent.end == pytest.approx(start + RECORD_RATE / 10, abs=1)

    def test_samples_keep_their_place_through_a_change_of_rate(self) -> None:
        timeline = Timeline(clock=ManualClock())
        for at, rate in ((1.0, 22_050), (2.0, 16_000), (3.0, 24_000)):
            click = np.zeros(rate // 2, np.int16)
            click[rate // 4] = 20_000
            timeline.place_agent(at, click, rate)
            start = round(at * RECORD_RATE)
            peak = int(np.argmax(timeline.agent.read(start, start + RECORD_RATE // 2)))
            assert peak == pytest.approx(RECORD_RATE / 4, abs=2)

    def test_an_interrupted_agent_is_silent_from_that_moment(self) -> None:
        timeline = Timeline(clock=ManualClock(7.0))
        timeline.place_agent(7.0, level(RECORD_RATE), RECORD_RATE)
        timeline.cut_agent(7.25)
        assert timeline.agent.end == RECORD_RATE // 4
        assert timeline.agent.read(0, RECORD_RATE // 4).all()
        assert not timeline.agent.read(RECORD_RATE // 4, RECORD_RATE).any()
        timeline.cut_agent(1.0)  # before the timeline began
        assert timeline.agent.end == 0


class TestRecording:
    def test_left_is_the_user_right_the_agent(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "folder" / "out.wav"
        with Timeline(path, ManualClock()) as timeline:
            timeline.place_user(0, level(1600, 2000))
            timeline.place_agent(0.2, level(RECORD_RATE // 10, -3000), RECORD_RATE)
        pcm = read_stereo(path)
        assert len(pcm) == round(0.3 * RECORD_RATE)
        assert pcm[1200, 0] == pytest.approx(2000, abs=10)
        assert pcm[round(0.25 * RECORD_RATE)].tolist() == [0, -3000]

    def test_readable_while_it_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / "out.wav"
        with Timeline(path, ManualClock()) as timeline:
            timeline.place_agent(0.0, level(RECORD_RATE * 3, 500), RECORD_RATE)
            for until_s in (1.0, 2.5):
                timeline.write(until_s)
                pcm = read_stereo(path)  # the file is not closed: as after a crash
                assert len(pcm) == round(until_s * RECORD_RATE)
                assert (pcm[:, 1] == 500).all()
        assert len(read_stereo(path)) == 3 * RECORD_RATE

    def test_nothing_is_written_twice(self, tmp_path: Path) -> None:
        path = tmp_path / "out.wav"
        ramp = (np.arange(RECORD_RATE) % 30_000).astype(np.int16)
        with Timeline(path, ManualClock()) as timeline:
            timeline.place_agent(0.0, ramp, RECORD_RATE)
            for until_s in (0.3, 0.2, -1.0, 0.3, 0.7):
                timeline.write(until_s)
        assert (read_stereo(path)[:, 1] == ramp).all()

    def test_silence_up_to_the_time_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "out.wav"
        with Timeline(path, ManualClock()) as timeline:
            timeline.write(2.0)
        assert len(read_stereo(path)) == 2 * RECORD_RATE

    def test_written_although_something_went_wrong(self, tmp_path: Path) -> None:
        path = tmp_path / "out.wav"

        def fail() -> None:
            with Timeline(path, ManualClock()) as timeline:
                timeline.place_agent(0.0, level(100), RECORD_RATE)
                raise RuntimeError("elsewhere")

        with pytest.raises(RuntimeError, match="elsewhere"):
            fail()
        assert len(read_stereo(path)) == 100

    def test_closing_twice_and_without_a_file(self, tmp_path: Path) -> None:
        for path in (None, tmp_path / "out.wav"):
            timeline = Timeline(path, ManualClock())
            timeline.place_agent(0.0, level(10), RECORD_RATE)
            timeline.write()
            timeline.close()
            timeline.close()
        assert len(read_stereo(tmp_path / "out.wav")) == 10


def test_a_long_call_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Ten minutes, sound on both sides, the agent a second ahead: the memory of the beginning is all there ever is."""
    step = RECORD_RATE // 2
    clock = ManualClock()
    with Timeline(tmp_path / "long.wav", clock, keep=False) as timeline:
        first = timeline.user._pcm, timeline.agent._pcm
        for number in range(2 * 600):
            timeline.user.place(number * step, level(step, 1 + number))
            timeline.agent.place((number + 2) * step, level(step, 10_001 + number))
            timeline.write(number / 2 - 2.0)
        assert timeline.user._pcm is first[0]
        assert timeline.agent._pcm is first[1]
        used = np.flatnonzero(timeline.user._pcm | timeline.agent._pcm)
        assert used.max() < 12 * RECORD_RATE, "no page behind that is ever touched"
        timeline.agent.silence_from(1200 * step)  # what was to be heard in the last second, but was not
    stereo = read_stereo(tmp_path / "long.wav")
    assert np.array_equal(stereo[::step, 0], 1 + np.arange(1200))
    assert np.array_equal(stereo[2 * step :: step, 1], 10_001 + np.arange(1198))


def test_a_long_call_forgets_what_is_written(tmp_path: Path) -> None:
    clock = ManualClock()
    with Timeline(tmp_path / "long.wav", clock, keep=False) as timeline:
        for minute in range(5):
            tone = np.full(USER_RATE, 1000 + minute, np.int16)
            timeline.place_user(minute * 60 * USER_RATE, tone)
            timeline.write((minute + 1) * 60 - 30)
            late = np.full(RECORD_RATE, 500, np.int16)
            timeline.place_agent(clock.now() + minute * 60 + 40, late, RECORD_RATE)
        assert timeline.user._pcm.nbytes < 2 * RECORD_RATE * 200
    stereo = read_stereo(tmp_path / "long.wav")
    assert len(stereo) == (4 * 60 + 41) * RECORD_RATE
    for minute in range(5):
        assert stereo[minute * 60 * RECORD_RATE + 100, 0] == 1000 + minute
        assert stereo[(minute * 60 + 40) * RECORD_RATE + 100, 1] == 500
