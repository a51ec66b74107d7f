"""The streams that the stages give LiveKit, by public names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Never

import pytest
from livekit import rtc
from livekit.agents import stt, tts, vad
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from voice_agent.errors import DependencyError
from voice_agent.livekit_compat import streams
from voice_agent.livekit_compat.streams import SttStream, TtsStream, VadStream
from voice_agent.livekit_compat.symbols import Symbol

FRAME = rtc.AudioFrame(b"\0\0" * 160, 16000, 1, 160)


class EchoSTT(stt.STT[Never]):
    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *args: Any, **kwargs: Any) -> stt.SpeechEvent:
        raise NotImplementedError


class EchoStream(SttStream):
    """An event for each frame; an error that it survives for each flush."""

    async def _run(self) -> None:
        async for item in self.received:
            if isinstance(item, rtc.AudioFrame):
                self.emit(stt.SpeechEvent(type=stt.SpeechEventType.START_OF_SPEECH))
            else:
                self.report(ValueError("flushed"))


async def spoken_to(owner: EchoSTT) -> EchoStream:
    """Two frames, and the flush that ends them."""
    stream = EchoStream(stt=owner, conn_options=DEFAULT_API_CONNECT_OPTIONS)
    before = stream.closed
    stream.push_frame(FRAME)
    stream.push_frame(FRAME)
    stream.end_input()
    events = [event async for event in stream]
    assert [event.type for event in events] == [stt.SpeechEventType.START_OF_SPEECH] * 2
    assert (before, stream.closed) == (False, True)
    await stream.aclose()
    return stream


async def test_an_stt_stream_reads_frames_gives_events_and_survives_errors() -> None:
    owner, errors = EchoSTT(), list[stt.STTError]()
    owner.on("error", errors.append)
    await spoken_to(owner)
    assert [(str(error.error), error.recoverable) for error in errors] == [("flushed", True)]


async def test_without_livekits_error_event_errors_are_logged(
    without: Callable[[Symbol], None], warnings: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    without(streams.STT_ERROR)
    await spoken_to(EchoSTT())
    assert warnings()[1:] == ["speech recognition failed"]
    assert caplog.records[-1].levelno == logging.ERROR


class SilentTTS(tts.TTS[Never]):
    def __init__(self) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=True), sample_rate=16000, num_channels=1)

    def synthesize(self, *args: Any, **kwargs: Any) -> tts.ChunkedStream:
        raise NotImplementedError

    def stream(self, *args: Any, **kwargs: Any) -> WordsStream:
        return WordsStream(tts=self, conn_options=DEFAULT_API_CONNECT_OPTIONS)


class WordsStream(TtsStream):
    """10 ms of sound for each piece of text."""

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(request_id="r", sample_rate=16000, num_channels=1, mime_type="audio/pcm", stream=True)
        output_emitter.start_segment(segment_id="s")
        self.texts: list[str] = []
        self.mark_started()
        async for item in self.received:
            if isinstance(item, str):
                self.texts.append(item)
                output_emitter.push(bytes(FRAME.data))
        output_emitter.end_segment()


@pytest.mark.parametrize("lost", [(), (streams.TTS_STARTED,)], ids=["all there", "without _mark_started"])
async def test_a_tts_stream_reads_text(
    lost: tuple[Symbol, ...], without: Callable[[Symbol], None], warnings: Callable[[], list[str]]
) -> None:
    for symbol in lost:
        without(symbol)
    stream = SilentTTS().stream()
    stream.push_text("Hello ")
    stream.push_text("there.")
    stream.end_input()
    made = [audio async for audio in stream]
    assert stream.texts == ["Hello ", "there."]
    assert stream.pushed_text == "Hello there."
    assert sum(audio.frame.duration for audio in made) == pytest.approx(0.02)
    assert len(warnings()) == len(lost)
    await stream.aclose()


class AnyVAD(vad.VAD):
    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.01))

    def stream(self) -> vad.VADStream:
        return CountStream(self)


class CountStream(VadStream):
    async def _main_task(self) -> None:
        async for item in self.received:
            if isinstance(item, rtc.AudioFrame):
                self.emit(
                    vad.VADEvent(
                        type=vad.VADEventType.START_OF_SPEECH,
                        samples_index=0,
                        timestamp=0.0,
                        speech_duration=0.0,
                        silence_duration=0.0,
                    )
                )


async def test_a_vad_stream_reads_frames_and_gives_events() -> None:
    owner = AnyVAD()
    stream = owner.stream()
    assert isinstance(stream, CountStream)
    assert stream.owner is owner
    stream.push_frame(FRAME)
    stream.end_input()
    assert [event.type async for event in stream] == [vad.VADEventType.START_OF_SPEECH]
    await stream.aclose()


def test_an_attribute_that_the_constructor_no_longer_makes_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams.STT_INPUT.exists()

    def init(self: Any, **kwargs: Any) -> None:
        self._frames = kwargs

    monkeypatch.setattr(stt.RecognizeStream, "__init__", init)
    assert not streams.STT_INPUT.exists()
    with pytest.raises(DependencyError, match="no audio reaches the STT"):
        streams.STT_INPUT.find()
