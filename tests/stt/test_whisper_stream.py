"""One stream: what goes in and what comes out of it."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from livekit.agents import stt

from voice_agent.audio.resampling import resample
from voice_agent.stt import FastWhisperSTT, WhisperEngine
from voice_agent.stt.hypothesis import words_key
from voice_agent.turn_events import UserTurn

from .recorded_clips import RecordedClip
from .stream_feed import FakeEngine, HastyEngine, Int16, Kind, StreamFeed, finals, listening


class TestHearing:
    async def test_a_sentence_from_start_to_end(self, whisper: FastWhisperSTT, clips: dict[str, RecordedClip]) -> None:
        async with listening(whisper) as feed:
            await feed.push(clips["sense05"].pcm)
            await feed.until(finals(1))
        (final,) = feed.texts(Kind.FINAL_TRANSCRIPT)
        assert words_key(final) == words_key(clips["sense05"].text)
        kinds = feed.kinds()
        assert kinds[0] is Kind.START_OF_SPEECH
        assert kinds.index(Kind.INTERIM_TRANSCRIPT) < kinds.index(Kind.FINAL_TRANSCRIPT)
        assert kinds.index(Kind.FINAL_TRANSCRIPT) < kinds.index(Kind.END_OF_SPEECH)
        assert kinds.count(Kind.START_OF_SPEECH) == kinds.count(Kind.END_OF_SPEECH) == 1
        interims = feed.texts(Kind.INTERIM_TRANSCRIPT)
        assert interims[0] != final
        assert all(a != b for a, b in itertools.pairwise(interims))

    async def test_two_sentences_are_two_turns(self, engine: WhisperEngine, clips: dict[str, RecordedClip]) -> None:
        turns: list[UserTurn] = []
        whisper = FastWhisperSTT("tiny.en", engine=engine, on_turn=turns.append)
        async with listening(whisper) as feed:
            for n, name in enumerate(("ask03", "sense05"), 1):
                await feed.push(clips[name].pcm)
                await feed.until(finals(n))
        await whisper.aclose()
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
        self, whisper: FastWhisperSTT, clips: dict[str, RecordedClip], rate: int, channels: int, sizes: tuple[int, ...]
    ) -> None:
        async with listening(whisper, rate=rate, channels=channels, sizes=sizes) as feed:
            await feed.push(resample(clips["ask03"].pcm, 16_000, rate))
            await feed.until(finals(1))
        (final,) = feed.texts(Kind.FINAL_TRANSCRIPT)
        assert words_key(final) == words_key(clips["ask03"].text)

    @pytest.mark.parametrize("name", ["silence", "white noise", "pink noise", "mains hum", "music", "breath"])
    async def test_what_is_no_speech_is_no_turn(
        self, whisper: FastWhisperSTT, clips: dict[str, RecordedClip], noises: dict[str, Int16], name: str
    ) -> None:
        async with listening(whisper) as feed:
            await feed.push(noises[name])
            await feed.push(np.zeros(16_000, np.int16))
            before = feed.texts(Kind.FINAL_TRANSCRIPT)
            await feed.push(clips["ask02"].pcm)  # it still hears
            await feed.until(finals(1))
        assert before == []
        assert [words_key(t)[:2] for t in feed.texts(Kind.FINAL_TRANSCRIPT)] == [("who", "wrote")]


class TestClosing:
    async def test_closed_in_mid_sentence(self, whisper: FastWhisperSTT, clips: dict[str, RecordedClip]) -> None:
        async with listening(whisper) as feed:
            await feed.push(clips["sense05"].pcm[:24_000])
        assert Kind.FINAL_TRANSCRIPT not in feed.kinds()
        async with listening(whisper) as second:  # the STT serves another stream
            await second.push(clips["ask02"].pcm)
            await second.until(finals(1))

    async def test_a_cancelled_reader(self, whisper: FastWhisperSTT, clips: dict[str, RecordedClip]) -> None:
        feed = StreamFeed(whisper.stream())
        reader = asyncio.create_task(feed.collect())
        await feed.push(clips["ask02"].pcm)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await feed.stream.aclose()

    async def test_a_stream_that_has_heard_nothing(self, whisper: FastWhisperSTT) -> None:
        async with listening(whisper) as feed:
            feed.stream.end_input()
        assert feed.events == []


async def test_a_pass_that_fails_is_reported_and_the_stream_goes_on(clips: dict[str, RecordedClip]) -> None:
    engine = FakeEngine(failing=True)
    whisper = FastWhisperSTT("failing", engine=engine)  # type: ignore[arg-type]
    errors: list[stt.STTError] = []
    whisper.on("error", errors.append)
    async with listening(whisper) as feed:
        await feed.push(clips["ask02"].pcm)
        await feed.until(lambda feed: Kind.END_OF_SPEECH in feed.kinds())
        assert feed.texts(Kind.FINAL_TRANSCRIPT) == []
        engine.failing = False
        await feed.push(clips["ask02"].pcm)
        await feed.until(finals(1))
    await whisper.aclose()
    assert feed.texts(Kind.FINAL_TRANSCRIPT) == ["who wrote it"]
    assert errors
    assert all(e.recoverable for e in errors)
    assert "out of memory" in str(errors[0].error)


async def test_a_hasty_pass_is_not_the_last(clips: dict[str, RecordedClip]) -> None:
    whisper = FastWhisperSTT("hasty", engine=HastyEngine())  # type: ignore[arg-type]
    async with listening(whisper) as feed:
        for end in range(20_000, 20_000 + 6 * 512, 512):  # for one of them the last pass in speech ends with the speech
            await feed.push(np.concatenate([clips["ask02"].pcm[:end], np.zeros(16_000, np.int16)]))
        await feed.until(finals(6))
    await whisper.aclose()
    assert set(feed.texts(Kind.FINAL_TRANSCRIPT)) == {"who wrote it"}
