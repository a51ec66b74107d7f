from __future__ import annotations

import numpy as np
import pytest
from livekit import rtc

from voice_agent.errors import ModelError
from voice_agent.stt import FastWhisperSTT
from voice_agent.stt.hypothesis import words_key
from voice_agent.stt.pcm import mono

from .recorded_clips import RecordedClip
from .stream_feed import Kind


class TestRecognize:
    async def test_the_whole_of_a_recording(self, whisper: FastWhisperSTT, clips: dict[str, RecordedClip]) -> None:
        pcm = clips["ask01"].pcm
        frames = [
            rtc.AudioFrame(pcm[i : i + 3000].tobytes(), 16_000, 1, len(pcm[i : i + 3000]))
            for i in range(0, len(pcm), 3000)
        ]
        event = await whisper.recognize(frames)
        assert event.type is Kind.FINAL_TRANSCRIPT
        assert words_key(event.alternatives[0].text) == words_key(clips["ask01"].text)

    def test_channels_are_averaged(self) -> None:
        frame = rtc.AudioFrame(np.array([[100, 300], [-32768, -32768], [0, 1]], np.int16).tobytes(), 8000, 2, 3)
        assert mono(frame).tolist() == [200, -32768, 0]


class TestWrongUse:
    def test_a_model_that_does_not_exist(self) -> None:
        with pytest.raises(ModelError, match="large-v9"):
            FastWhisperSTT("./large-v9")

    async def test_another_language_than_it_was_loaded_for(self, whisper: FastWhisperSTT) -> None:
        with pytest.raises(ValueError, match=r"language='en'.*'de'"):
            whisper.stream(language="de")

    async def test_what_it_says_of_itself(self, whisper: FastWhisperSTT) -> None:
        assert (whisper.model, whisper.provider) == ("tiny.en", "faster-whisper")
        assert whisper.capabilities.streaming
        assert whisper.capabilities.interim_results
