from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIError, tts
from livekit.agents.voice import io
from numpy.typing import NDArray

from voice_agent import trace
from voice_agent.errors import ModelError, SpeechError
from voice_agent.tts import AudioChunk, Delivery, PiperTTS, Stop, Voice

REPLY = "Sure, I can help you with that. What would you like to know?"


@pytest.fixture
async def piper(voice: Voice) -> AsyncIterator[PiperTTS]:
    piper_tts = PiperTTS(loaded=voice)  # loaded once for all tests
    yield piper_tts
    await piper_tts.aclose()


def samples(frames: list[rtc.AudioFrame]) -> NDArray[np.int16]:
    return np.concatenate([np.frombuffer(f.data, np.int16) for f in frames] or [np.zeros(0, np.int16)])


async def speak(piper_tts: PiperTTS, tokens: list[str], *, pause_s: float = 0.0) -> list[tts.SynthesizedAudio]:
    events = list[tts.SynthesizedAudio]()
    async with piper_tts.stream() as stream:

        async def feed() -> None:
            for token in tokens:
                stream.push_text(token)
                await asyncio.sleep(pause_s)
            stream.end_input()

        feeding = asyncio.create_task(feed())
        async for event in stream:
            events.append(event)
        await feeding
    return events


async def test_a_reply_is_spoken_through_livekit(piper: PiperTTS) -> None:
    generation = trace.GenerationTrace("g")
    with trace.generation(generation):
        events = await speak(piper, [REPLY[i : i + 4] for i in range(0, len(REPLY), 4)])
    audio = samples([e.frame for e in events])
    assert 2.0 < audio.size / piper.sample_rate < 6.0
    assert len({e.segment_id for e in events}) == 1
    assert events[-1].is_final
    assert list(generation.marks) == ["chunk_ready", "tts_first_audio"]
    assert generation.marks["chunk_ready"] < generation.marks["tts_first_audio"]


async def test_a_reply_starts_with_sound_and_in_a_small_frame(piper: PiperTTS) -> None:
    events = await speak(piper, ["Well, ", "good morning."])
    audio = samples([e.frame for e in events])
    first_audible = int(np.flatnonzero(np.abs(audio.astype(int)) > 300)[0])
    assert first_audible / piper.sample_rate == pytest.approx(0.005, abs=0.001)
    assert events[0].frame.duration <= 0.02


async def test_its_frames_grow(piper: PiperTTS) -> None:
    events = await speak(piper, ["The quick brown fox jumps over the lazy dog near the old stone bridge by the river."])
    durations = [e.frame.duration for e in events]
    assert sum(durations) > 3.0
    assert max(durations) == pytest.approx(0.2, abs=0.011)  # LiveKit keeps 10 ms back, to mark the last
    assert len(durations) < sum(durations) / 0.06


async def test_a_piece_leaves_whole_before_the_next_is_made() -> None:
    """LiveKit would let go of the rest of it a moment before its sound ends: here after a minute."""
    more = threading.Event()
    loud = np.full(round(61.15 * 22_050), 5_000, np.int16)

    class Slow:
        def speak(self, *args: object, **kwargs: object) -> Iterator[AudioChunk]:
            yield AudioChunk(loud, last=False)
            more.wait(30)
            yield AudioChunk(loud[:2_205], last=True)

    piper_tts = PiperTTS(loaded=Slow())
    async with piper_tts.stream() as stream:
        stream.push_text("Well.")
        stream.end_input()
        left_s = 61.15 - 0.005
        try:
            async with asyncio.timeout(20):
                while left_s > 0:
                    left_s -= (await anext(stream)).frame.duration
        finally:
            more.set()
    await piper_tts.aclose()


async def test_the_first_clause_sounds_while_the_model_still_writes(piper: PiperTTS) -> None:
    async with piper.stream() as stream:
        stream.push_text("Of course,")
        assert (await anext(stream)).frame.duration > 0  # though nothing more has come
        stream.push_text(" that is easy.")
        stream.end_input()
        rest = [e async for e in stream]
    assert sum(e.frame.duration for e in rest) > 1.0


class _Recording:
    """A voice that keeps the texts that it was given."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self.texts = list[str]()

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]:
        self.texts.append(text)
        return self.voice.speak(text, delivery, low_latency=low_latency, stop=stop)


@pytest.mark.parametrize("pause_s", [0.0, 0.01])
async def test_every_word_is_spoken_once_and_in_order(voice: Voice, pause_s: float) -> None:
    recording = _Recording(voice)
    piper_tts = PiperTTS(loaded=recording)
    await speak(piper_tts, re.findall(r"\S+\s*", REPLY), pause_s=pause_s)
    await piper_tts.aclose()
    assert " ".join(recording.texts).split() == REPLY.split()


async def test_cancelling_stops_the_voice_and_drops_what_is_late(piper: PiperTTS) -> None:
    stream = piper.stream()
    stream.push_text("This is a long sentence, " * 40)
    stream.end_input()
    await anext(stream)
    await stream.aclose()
    left = [e async for e in stream]
    assert sum(e.frame.duration for e in left) < 60  # 40 clauses are more than a minute
    assert not piper.speaking
    # the thread is free for the next reply, which is whole
    assert (await piper.synthesize("Next one.").collect()).duration > 0.4
    assert [e async for e in stream] == []


async def test_closing_the_voice_ends_a_stream_that_speaks(voice: Voice) -> None:
    piper_tts = PiperTTS(loaded=voice)
    stream = piper_tts.stream()
    stream.push_text("This is a long sentence, " * 40)
    await anext(stream)
    await piper_tts.aclose()
    await stream.aclose()
    assert not piper_tts.speaking


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\U0001f600", "...", "**", "\x00"])
async def test_nothing_to_say_is_no_failure(piper: PiperTTS, text: str) -> None:
    events = await speak(piper, [text])
    assert sum(e.frame.duration for e in events) <= 0.02
    assert not samples([e.frame for e in events]).any()
    frames = [e.frame async for e in piper.synthesize(text)]
    assert not samples(frames).any()


@pytest.mark.parametrize(
    "text",
    [
        "a\x00b \ud800 c",
        "\u4f60\u597d\u3002",
        "\u043f\u0440\u0438\u0432\u0435\u0442",
        "x" * 700,
        "$3.50 & 5 km",
        "<b>no</b> | yes |",
        "[[not phonemes]] but text",
        "\u202eabc\u202c",
        "1234567890" * 20,
    ],
)
async def test_odd_text_is_spoken(piper: PiperTTS, text: str) -> None:
    events = await speak(piper, [text])
    assert np.abs(samples([e.frame for e in events]).astype(int)).max() > 1000


async def test_a_failure_says_what_to_do_and_is_not_repeated(piper: PiperTTS) -> None:
    class Broken(Voice):
        def __init__(self) -> None:
            self.calls = 0

        def speak(self, *_: object, **__: object) -> Iterator[AudioChunk]:
            self.calls += 1
            raise SpeechError("the voice failed: try another")

    broken = Broken()
    piper.voice = broken
    errors = list[tts.TTSError]()
    piper.on("error", errors.append)
    with pytest.raises(APIError, match="try another") as caught:
        await speak(piper, ["Hello."])
    assert isinstance(caught.value.__cause__, SpeechError)
    assert broken.calls == 1
    assert [e.recoverable for e in errors] == [False]


async def test_a_voice_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        PiperTTS(tmp_path / "absent.onnx")
    with pytest.raises(SpeechError, match="count from 0"):
        PiperTTS(speaker=7)


async def test_prewarming_returns_at_once_and_loads(voice: Voice) -> None:
    piper_tts = PiperTTS()
    piper_tts.prewarm()
    await piper_tts.load()
    assert isinstance(piper_tts.voice, Voice)
    assert piper_tts.sample_rate == voice.sample_rate
    assert (piper_tts.model, piper_tts.provider, piper_tts.language) == ("en_US-joe-medium", "piper", "en-us")
    await piper_tts.aclose()


class _Recorder(io.AudioOutput):
    """An audio output that plays at once."""

    def __init__(self) -> None:
        super().__init__(label="recorder", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=None)
        self.frames = list[rtc.AudioFrame]()
        self._position_s = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self.frames.append(frame)
        self._position_s += frame.duration

    def flush(self) -> None:
        super().flush()
        self.on_playback_finished(playback_position=self._position_s, interrupted=False)
        self._position_s = 0.0

    def clear_buffer(self) -> None:
        return


async def test_it_speaks_in_an_agent_session(piper: PiperTTS) -> None:
    session = AgentSession[None](tts=piper, tts_text_transforms=None)
    recorder = _Recorder()
    session.output.audio = recorder
    await session.start(Agent(instructions=""))
    try:
        await asyncio.wait_for(session.say(REPLY, add_to_chat_ctx=False).wait_for_playout(), 30)
    finally:
        await session.aclose()
    assert 2.0 < samples(recorder.frames).size / piper.sample_rate < 6.0
