from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest
from livekit import rtc
from livekit.agents import stt

from voice_agent.audio.resampling import resample
from voice_agent.errors import ModelError
from voice_agent.stt import FastWhisperSTT, Hypothesis, WhisperEngine
from voice_agent.stt.decoder import words_key
from voice_agent.stt.silence_endpointing import SilenceEndpointing
from voice_agent.stt.stream import WhisperStream, mono, wants_pass
from voice_agent.turn_events import Discard, EndOfTurn, SpeechStarted, UserTurn

Int16 = npt.NDArray[np.int16]
Kind = stt.SpeechEventType
FASTER = 4.0  # than real time: passes still come in between


class Clip(Protocol):
    @property
    def text(self) -> str: ...
    @property
    def pcm(self) -> Int16: ...


@dataclass
class Line:
    """Feeds a stream and collects what comes out; silence follows the sound for as long as somebody listens."""

    stream: WhisperStream
    rate: int = 16_000
    channels: int = 1
    sizes: tuple[int, ...] = (160,)
    events: list[stt.SpeechEvent] = field(default_factory=list)

    def texts(self, kind: Kind) -> list[str]:
        return [e.alternatives[0].text for e in self.events if e.type is kind]

    def kinds(self) -> list[Kind]:
        return [e.type for e in self.events]

    def _push(self, pcm: Int16) -> None:
        stereo = np.repeat(pcm[:, None], self.channels, axis=1)
        self.stream.push_frame(rtc.AudioFrame(stereo.tobytes(), self.rate, self.channels, len(pcm)))

    async def feed(self, pcm: Int16) -> None:
        at, turn = 0, 0
        while at < len(pcm):
            size = self.sizes[turn % len(self.sizes)]
            self._push(pcm[at : at + size])
            at, turn = at + size, turn + 1
            await asyncio.sleep(size / self.rate / FASTER)

    async def until(self, true: Callable[[Line], bool]) -> None:
        """Feed silence until ``true`` (a hung test is ended by the bound)."""
        async with asyncio.timeout(20):
            while not true(self):
                await self.feed(np.zeros(self.rate // 50, np.int16))

    async def collect(self) -> None:
        async for event in self.stream:
            self.events.append(event)


def finals(n: int) -> Callable[[Line], bool]:
    return lambda line: len(line.texts(Kind.FINAL_TRANSCRIPT)) >= n


@contextlib.asynccontextmanager
async def listening(ears: FastWhisperSTT, **kwargs: Any) -> AsyncIterator[Line]:
    line = Line(ears.stream(), **kwargs)
    task = asyncio.create_task(line.collect())
    try:
        yield line
    finally:
        await line.stream.aclose()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def ears(engine: WhisperEngine) -> AsyncIterator[FastWhisperSTT]:
    made = FastWhisperSTT("tiny.en", engine=engine)
    yield made
    await made.aclose()


class TestHearing:
    async def test_a_sentence_from_start_to_end(self, ears: FastWhisperSTT, clips: dict[str, Clip]) -> None:
        async with listening(ears) as line:
            await line.feed(clips["sense05"].pcm)
            await line.until(finals(1))
        (final,) = line.texts(Kind.FINAL_TRANSCRIPT)
        assert words_key(final) == words_key(clips["sense05"].text)
        kinds = line.kinds()
        assert kinds[0] is Kind.START_OF_SPEECH
        assert kinds.index(Kind.INTERIM_TRANSCRIPT) < kinds.index(Kind.FINAL_TRANSCRIPT)
        assert kinds.index(Kind.FINAL_TRANSCRIPT) < kinds.index(Kind.END_OF_SPEECH)
        assert kinds.count(Kind.START_OF_SPEECH) == kinds.count(Kind.END_OF_SPEECH) == 1
        interims = line.texts(Kind.INTERIM_TRANSCRIPT)
        assert interims[0] != final
        assert all(a != b for a, b in itertools.pairwise(interims))

    async def test_two_sentences_are_two_turns(self, engine: WhisperEngine, clips: dict[str, Clip]) -> None:
        turns: list[UserTurn] = []
        ears = FastWhisperSTT("tiny.en", engine=engine, on_turn=turns.append)
        async with listening(ears) as line:
            for n, name in enumerate(("ask03", "sense05"), 1):
                await line.feed(clips[name].pcm)
                await line.until(finals(n))
        await ears.aclose()
        assert [words_key(t.text) for t in turns] == [words_key(clips[n].text) for n in ("ask03", "sense05")]
        for turn in turns:
            assert turn.speech_started_at < turn.speech_ended_at <= turn.committed_at
            assert turn.speech_started_at < turn.transcript_ready_at <= turn.committed_at
            assert turn.evidence["passes"] >= 1
        assert turns[0].committed_at < turns[1].speech_ended_at

    @pytest.mark.parametrize(
        ("rate", "channels", "sizes"),
        [
            (48_000, 2, (480, 1, 1023)),
            (44_100, 2, (441, 333)),
            (44_100, 1, (1000,)),
            (8_000, 1, (80, 7)),
            (16_000, 1, (513,)),
        ],
    )
    async def test_frames_of_any_shape(
        self, ears: FastWhisperSTT, clips: dict[str, Clip], rate: int, channels: int, sizes: tuple[int, ...]
    ) -> None:
        async with listening(ears, rate=rate, channels=channels, sizes=sizes) as line:
            await line.feed(resample(clips["ask03"].pcm, 16_000, rate))
            await line.until(finals(1))
        (final,) = line.texts(Kind.FINAL_TRANSCRIPT)
        assert words_key(final) == words_key(clips["ask03"].text)

    @pytest.mark.parametrize("name", ["silence", "white noise", "pink noise", "mains hum", "music", "breath"])
    async def test_what_is_no_speech_is_no_turn(
        self, ears: FastWhisperSTT, clips: dict[str, Clip], noises: dict[str, Int16], name: str
    ) -> None:
        async with listening(ears) as line:
            await line.feed(noises[name])
            await line.feed(np.zeros(16_000, np.int16))
            before = line.texts(Kind.FINAL_TRANSCRIPT)
            await line.feed(clips["ask02"].pcm)  # it still hears
            await line.until(finals(1))
        assert before == []
        assert [words_key(t)[:2] for t in line.texts(Kind.FINAL_TRANSCRIPT)] == [("who", "wrote")]

    async def test_the_whole_of_a_recording(self, ears: FastWhisperSTT, clips: dict[str, Clip]) -> None:
        pcm = clips["ask01"].pcm
        frames = [
            rtc.AudioFrame(pcm[i : i + 3000].tobytes(), 16_000, 1, len(pcm[i : i + 3000]))
            for i in range(0, len(pcm), 3000)
        ]
        event = await ears.recognize(frames)
        assert event.type is Kind.FINAL_TRANSCRIPT
        assert words_key(event.alternatives[0].text) == words_key(clips["ask01"].text)

    def test_channels_are_averaged(self) -> None:
        frame = rtc.AudioFrame(np.array([[100, 300], [-32768, -32768], [0, 1]], np.int16).tobytes(), 8000, 2, 3)
        assert mono(frame).tolist() == [200, -32768, 0]


class TestClosing:
    async def test_closed_in_mid_sentence(self, ears: FastWhisperSTT, clips: dict[str, Clip]) -> None:
        async with listening(ears) as line:
            await line.feed(clips["sense05"].pcm[:24_000])
        assert Kind.FINAL_TRANSCRIPT not in line.kinds()
        async with listening(ears) as second:  # the ears serve another stream
            await second.feed(clips["ask02"].pcm)
            await second.until(finals(1))

    async def test_a_cancelled_reader(self, ears: FastWhisperSTT, clips: dict[str, Clip]) -> None:
        line = Line(ears.stream())
        reader = asyncio.create_task(line.collect())
        await line.feed(clips["ask02"].pcm)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await line.stream.aclose()

    async def test_a_stream_that_has_heard_nothing(self, ears: FastWhisperSTT) -> None:
        async with listening(ears) as line:
            line.stream.end_input()
        assert line.events == []


class FailingEngine:
    """Fails when told to, else says ``text``."""

    def __init__(self, text: str = "who wrote it") -> None:
        self.text = text
        self.failing = True
        self.decoded = 0
        self.threads: set[int] = set()

    def decode(self, pcm: npt.NDArray[np.float32], *, thorough: bool = True, **_: object) -> Hypothesis:
        self.decoded += 1
        self.threads.add(threading.get_ident())
        if self.failing:
            raise RuntimeError("out of memory")
        return Hypothesis(self.text, (1,), len(pcm) / 16_000, 4.0, -0.1, 0.0)


async def test_a_pass_that_fails_is_reported_and_the_stream_goes_on(clips: dict[str, Clip]) -> None:
    engine = FailingEngine()
    ears = FastWhisperSTT("failing", engine=engine)  # type: ignore[arg-type]
    errors: list[stt.STTError] = []
    ears.on("error", errors.append)
    async with listening(ears) as line:
        await line.feed(clips["ask02"].pcm)
        await line.until(lambda line: Kind.END_OF_SPEECH in line.kinds())
        assert line.texts(Kind.FINAL_TRANSCRIPT) == []
        engine.failing = False
        await line.feed(clips["ask02"].pcm)
        await line.until(finals(1))
    await ears.aclose()
    assert line.texts(Kind.FINAL_TRANSCRIPT) == ["who wrote it"]
    assert errors
    assert all(e.recoverable for e in errors)
    assert "out of memory" in str(errors[0].error)


class HastyEngine(FailingEngine):
    """Has only a part of the words in quick passes."""

    def decode(self, pcm: npt.NDArray[np.float32], *, thorough: bool = True, **_: object) -> Hypothesis:
        text, guard = (self.text, "") if thorough else ("who", "hasty")
        return Hypothesis(text, (1,), len(pcm) / 16_000, 4.0, -0.1, 0.0, guard)


async def test_a_quick_pass_that_may_lack_words_is_not_the_last(clips: dict[str, Clip]) -> None:
    ears = FastWhisperSTT("hasty", engine=HastyEngine())  # type: ignore[arg-type]
    async with listening(ears) as line:
        for end in range(20_000, 20_000 + 6 * 512, 512):  # for one of them the last pass in speech ends with the speech
            await line.feed(np.concatenate([clips["ask02"].pcm[:end], np.zeros(16_000, np.int16)]))
        await line.until(finals(6))
    await ears.aclose()
    assert set(line.texts(Kind.FINAL_TRANSCRIPT)) == {"who wrote it"}


async def test_passes_run_one_at_a_time_on_a_thread_of_their_own(clips: dict[str, Clip]) -> None:
    engine = FailingEngine()
    engine.failing = False
    ears = FastWhisperSTT("quick", engine=engine)  # type: ignore[arg-type]
    async with listening(ears) as line:
        await line.feed(clips["sense05"].pcm)
        await line.until(finals(1))
    await ears.aclose()
    assert engine.decoded > 1
    assert engine.threads
    assert threading.get_ident() not in engine.threads
    assert len(engine.threads) == 1
    assert line.texts(Kind.INTERIM_TRANSCRIPT) == ["who wrote it"]  # the same words are not sent again


async def test_a_pass_that_has_to_wait_hears_what_has_come_until_its_turn(clips: dict[str, Clip]) -> None:
    heard_s: list[float] = []

    class Noting(FailingEngine):
        def decode(self, pcm: npt.NDArray[np.float32], *, thorough: bool = True, **more: object) -> Hypothesis:
            heard_s.append(len(pcm) / 16_000)
            return super().decode(pcm, thorough=thorough, **more)

    engine = Noting()
    engine.failing = False
    ears = FastWhisperSTT("waiting", engine=engine)  # type: ignore[arg-type]
    free = threading.Event()
    others = ears.thread.submit(free.wait, 20)  # another call's pass
    async with listening(ears) as line:
        pcm = clips["sense05"].pcm
        await line.feed(pcm)
        await line.feed(np.zeros(3200, np.int16))
        assert heard_s == []
        free.set()
        await line.until(finals(1))
    await asyncio.wrap_future(others)
    await ears.aclose()
    assert heard_s[0] > 0.8 * len(pcm) / 16_000
    assert len(heard_s) <= 2


async def test_a_pass_whose_turn_comes_when_nobody_speaks_any_more_is_none(clips: dict[str, Clip]) -> None:
    class Forgetful(SilenceEndpointing):
        forgot = False

        @property
        def in_speech(self) -> bool:
            return super().in_speech and not self.forgot

    engine, turn_detector = FailingEngine(), Forgetful()
    engine.failing = False
    ears = FastWhisperSTT("late", engine=engine, turn_detector=lambda: turn_detector)  # type: ignore[arg-type]
    free = threading.Event()
    others = ears.thread.submit(free.wait, 20)
    async with listening(ears) as line:
        await line.feed(clips["ask02"].pcm)
        assert turn_detector.in_speech
        turn_detector.forgot = True  # it was a cough
        await line.feed(np.zeros(3200, np.int16))
        free.set()
        await asyncio.wrap_future(others)
        await line.feed(np.zeros(3200, np.int16))
        assert engine.decoded == 0
        turn_detector.forgot = False
        await line.until(finals(1))
    await ears.aclose()


class TestWrongUse:
    def test_a_model_that_does_not_exist(self) -> None:
        with pytest.raises(ModelError, match="large-v9"):
            FastWhisperSTT("./large-v9")

    async def test_another_language_than_it_was_loaded_for(self, ears: FastWhisperSTT) -> None:
        with pytest.raises(ValueError, match=r"language='en'.*'de'"):
            ears.stream(language="de")

    async def test_what_it_says_of_itself(self, ears: FastWhisperSTT) -> None:
        assert (ears.model, ears.provider) == ("tiny.en", "faster-whisper")
        assert ears.capabilities.streaming
        assert ears.capabilities.interim_results


class TestSilenceTaker:
    W = 0.032

    def run(self, windows: str, *, text: str = "yes", covers_s: float | None = None) -> list[Any]:
        """``#`` is a window with speech, ``.`` one without, ``t`` a text that covers all so far."""
        turn_detector, said, n = SilenceEndpointing(0.25, give_up_s=0.7), list[Any](), 0
        turn_detector.bind(said.append)
        for c in windows:
            if c == "t":
                turn_detector.text(text, n * self.W if covers_s is None else covers_s, n * self.W)
            else:
                n += 1
                turn_detector.window(n * self.W, 0.9 if c == "#" else 0.1, np.zeros(512, np.int16))
        return said

    def test_speech_text_silence(self) -> None:
        started, commit = self.run("...####t" + "." * 10)
        assert isinstance(started, SpeechStarted)
        assert started.at_s == pytest.approx(3 * self.W)
        assert isinstance(commit, EndOfTurn)
        assert (commit.text, commit.wanted_s) == ("yes", 0.25)
        assert commit.speech_ended_s == pytest.approx(7 * self.W)
        assert commit.waited_s >= 0.25

    @pytest.mark.parametrize("windows", ["#.#.#.#", "....", "####t....", "####" + "." * 30, "####t....####...."])
    def test_no_end_yet(self, windows: str) -> None:
        assert not any(isinstance(d, EndOfTurn | Discard) for d in self.run(windows))

    def test_a_late_text_commits_at_once(self) -> None:
        assert isinstance(self.run("####" + "." * 30 + "t")[-1], EndOfTurn)

    def test_a_text_that_has_not_heard_the_end_does_not_commit(self) -> None:
        assert len(self.run("####" + "." * 30 + "t", covers_s=0.05)) == 1

    def test_no_words_are_given_up(self) -> None:
        assert isinstance(self.run("####t" + "." * 30, text="")[-1], Discard)


class TestWantsPass:
    """Arguments: here, end of speech, loud until, heard up to, what the last pass took."""

    def test_in_a_pause_until_all_of_the_speech_is_heard(self) -> None:
        assert wants_pass(2.1, 2.0, 2.0, 1.9, 0.06)
        assert not wants_pass(2.1, 2.0, 2.0, 2.0, 0.06)

    def test_quick_passes_follow_each_other(self) -> None:
        assert wants_pass(2.0, 2.0, 2.0, 1.85, 0.06)
        assert not wants_pass(2.0, 2.0, 2.0, 1.95, 0.06)

    def test_slow_ones_leave_the_ears_free(self) -> None:
        assert not wants_pass(2.0, 2.0, 2.0, 1.6, 0.3)
        assert wants_pass(2.0, 2.0, 2.0, 1.3, 0.3)

    def test_a_text_that_looks_whole_is_looked_at_once_more(self) -> None:
        assert wants_pass(2.0, 2.0, 2.0, 1.85, 0.3, to_be_sure=True)
        assert not wants_pass(2.0, 2.0, 2.0, 1.95, 0.3, to_be_sure=True)

    def test_for_the_voice_that_fades(self) -> None:
        assert wants_pass(2.0, 2.0, 1.9, 1.8, 0.3)
        assert not wants_pass(2.0, 2.0, 1.9, 1.95, 0.3)  # all that was loud is heard
