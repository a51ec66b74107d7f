from __future__ import annotations

import asyncio
import threading

import numpy as np
import numpy.typing as npt

from voice_agent.stt import FastWhisperSTT, Hypothesis
from voice_agent.stt.pass_scheduler import pass_is_due
from voice_agent.stt.silence_endpointing import SilenceEndpointing

from .recorded_clips import RecordedClip
from .stream_feed import FakeEngine, Kind, finals, listening


async def test_passes_run_one_at_a_time_on_a_thread_of_their_own(clips: dict[str, RecordedClip]) -> None:
    engine = FakeEngine()
    whisper = FastWhisperSTT("quick", engine=engine)  # type: ignore[arg-type]
    async with listening(whisper) as feed:
        await feed.push(clips["sense05"].pcm)
        await feed.until(finals(1))
    await whisper.aclose()
    assert engine.decoded > 1
    assert engine.threads
    assert threading.get_ident() not in engine.threads
    assert len(engine.threads) == 1
    assert feed.texts(Kind.INTERIM_TRANSCRIPT) == ["who wrote it"]  # the same words are not sent again


async def test_a_pass_that_waits_reads_all_that_has_arrived_by_its_start(clips: dict[str, RecordedClip]) -> None:
    decoded_s: list[float] = []

    class Noting(FakeEngine):
        def decode(self, pcm: npt.NDArray[np.float32], *, thorough: bool = True, **more: object) -> Hypothesis:
            decoded_s.append(len(pcm) / 16_000)
            return super().decode(pcm, thorough=thorough, **more)

    engine = Noting()
    whisper = FastWhisperSTT("waiting", engine=engine)  # type: ignore[arg-type]
    free = threading.Event()
    others = whisper.thread.submit(free.wait, 20)  # another call's pass
    async with listening(whisper) as feed:
        pcm = clips["sense05"].pcm
        await feed.push(pcm)
        await feed.push(np.zeros(3200, np.int16))
        assert decoded_s == []
        free.set()
        await feed.until(finals(1))
    await asyncio.wrap_future(others)
    await whisper.aclose()
    assert decoded_s[0] > 0.8 * len(pcm) / 16_000
    assert len(decoded_s) <= 2


async def test_a_pass_that_starts_after_the_end_of_the_speech_decodes_nothing(clips: dict[str, RecordedClip]) -> None:
    class Forgetful(SilenceEndpointing):
        forgot = False

        @property
        def in_speech(self) -> bool:
            return super().in_speech and not self.forgot

    engine, turn_detector = FakeEngine(), Forgetful()
    whisper = FastWhisperSTT("late", engine=engine, turn_detector=lambda: turn_detector)  # type: ignore[arg-type]
    free = threading.Event()
    others = whisper.thread.submit(free.wait, 20)
    async with listening(whisper) as feed:
        await feed.push(clips["ask02"].pcm)
        assert turn_detector.in_speech
        turn_detector.forgot = True  # it was a cough
        await feed.push(np.zeros(3200, np.int16))
        free.set()
        await asyncio.wrap_future(others)
        await feed.push(np.zeros(3200, np.int16))
        assert engine.decoded == 0
        turn_detector.forgot = False
        await feed.until(finals(1))
    await whisper.aclose()


class TestPassIsDue:
    """Arguments: here, end of speech, loud until, heard up to, what the last pass took."""

    def test_in_a_pause_until_all_of_the_speech_is_heard(self) -> None:
        assert pass_is_due(2.1, 2.0, 2.0, 1.9, 0.06)
        assert not pass_is_due(2.1, 2.0, 2.0, 2.0, 0.06)

    def test_quick_passes_follow_each_other(self) -> None:
        assert pass_is_due(2.0, 2.0, 2.0, 1.85, 0.06)
        assert not pass_is_due(2.0, 2.0, 2.0, 1.95, 0.06)

    def test_slow_ones_leave_the_thread_free(self) -> None:
        assert not pass_is_due(2.0, 2.0, 2.0, 1.6, 0.3)
        assert pass_is_due(2.0, 2.0, 2.0, 1.3, 0.3)

    def test_a_text_that_looks_whole_is_looked_at_once_more(self) -> None:
        assert pass_is_due(2.0, 2.0, 2.0, 1.85, 0.3, wants_confirmation=True)
        assert not pass_is_due(2.0, 2.0, 2.0, 1.95, 0.3, wants_confirmation=True)

    def test_at_an_energy_drop(self) -> None:
        assert pass_is_due(2.0, 2.0, 1.9, 1.8, 0.3)
        assert not pass_is_due(2.0, 2.0, 1.9, 1.95, 0.3)  # all that was loud is heard
