"""Confirming the text of an earlier pass instead of decoding."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voice_agent.config import models
from voice_agent.stt import Hypothesis, WhisperEngine
from voice_agent.stt.backends.base import WhisperBackend
from voice_agent.stt.backends.load_backend import load_backend
from voice_agent.stt.confirmation import MORE_SPEECH_S

from .recorded_clips import Float32, RecordedClip, word_errors


def confirmed(engine: WhisperEngine, pcm: Float32, early: Hypothesis, speech_s: float) -> Hypothesis | None:
    """``early``, made from the beginning of ``pcm``, if the engine confirms it; None if it decodes."""
    heard = engine.decode(pcm, before=early, speech_s=speech_s)
    return heard if heard.guard == "confirmed" else None


class TestConfirm:
    @pytest.mark.parametrize("name", ["sense01", "sense04", "sense05", "ask01", "ask03"])
    def test_a_text_that_lacks_only_the_end_of_the_last_word_is_confirmed(
        self, engine: WhisperEngine, clips: dict[str, RecordedClip], name: str
    ) -> None:
        pcm, end_s = clips[name].float32, clips[name].end_s
        end = round(end_s * 16_000)
        early = engine.decode(pcm[:end])
        found = confirmed(engine, pcm[: end + 1024], early, end_s)
        assert found is not None
        assert found.text == early.text
        assert found.audio_s == pytest.approx((min(end + 1024, len(pcm))) / 16_000)

    def test_a_text_with_a_doubtful_word_near_the_end_is_decoded_again(
        self, engine: WhisperEngine, clips: dict[str, RecordedClip]
    ) -> None:
        """tiny.en hears "old-sposed" for "ill-disposed", and is not sure of it."""
        pcm, end_s = clips["sense02"].float32, clips["sense02"].end_s
        end = round(end_s * 16_000)
        early = engine.decode(pcm[:end])
        assert word_errors(early.text, clips["sense02"].text) > 0
        assert confirmed(engine, pcm[: end + 800], early, end_s) is None

    @pytest.mark.parametrize(
        "name", ["sense01", "sense02", "sense03", "sense04", "sense05", "ask01", "ask02", "ask03", "ask04"]
    )
    def test_a_text_made_before_the_last_word_is_not_confirmed(
        self, engine: WhisperEngine, clips: dict[str, RecordedClip], name: str
    ) -> None:
        end_s = clips[name].end_s
        end = round(end_s * 16_000)
        pcm = clips[name].float32[: end + 1024]
        whole, refused = engine.decode(pcm), 0
        for missing_s in (0.1, 0.2, 0.33):
            early = engine.decode(pcm[: end - round(missing_s * 16_000)])
            found = confirmed(engine, pcm, early, end_s)
            assert found is None or found.key == whole.key
            refused += found is None
        assert refused or early.key == whole.key

    def test_much_more_speech_than_the_text_had_is_decoded(
        self, engine: WhisperEngine, clips: dict[str, RecordedClip]
    ) -> None:
        pcm = clips["sense01"].float32
        assert confirmed(engine, pcm, engine.decode(pcm[: len(pcm) // 2]), clips["sense01"].end_s) is None

    def test_silence_after_it_does_not_count_as_speech(
        self, engine: WhisperEngine, clips: dict[str, RecordedClip]
    ) -> None:
        end_s = clips["ask01"].end_s
        spoken = clips["ask01"].float32[: round(end_s * 16_000)]
        early = engine.decode(spoken)
        pcm = np.concatenate([spoken, np.zeros(round(MORE_SPEECH_S * 1.5 * 16_000), np.float32)])
        found = confirmed(engine, pcm, early, end_s)
        assert found is not None
        assert found.key == early.key

    def test_nothing_is_not_confirmed(self, engine: WhisperEngine) -> None:
        silence = np.zeros(16_000, np.float32)
        assert confirmed(engine, silence, engine.decode(silence), 0.5) is None

    @pytest.mark.parametrize("name", ["sense01", "sense02", "sense04", "sense05", "ask01", "ask02", "ask03"])
    def test_another_ending_of_the_last_word_is_not_confirmed(
        self, engine: WhisperEngine, clips: dict[str, RecordedClip], name: str
    ) -> None:
        end_s = clips[name].end_s
        pcm = clips[name].float32[: round(end_s * 16_000) + 1024]
        whole = engine.decode(pcm)
        tokenizer = engine.tokenizer("en")
        for text in (f"{stem(whole.text)}{ending}" for ending in ("", "s", "ed")):
            wrong = replace(whole, text=text + ".", tokens=tuple(tokenizer.encode(f" {text}.")))
            if wrong.key != whole.key:
                assert confirmed(engine, pcm, wrong, end_s) is None


def stem(text: str) -> str:
    """``text`` without an English ending and marks."""
    return re.sub(r"(es|ed|s|d)?\W*$", "", text)


class DoubtfulBackend:
    """A backend that gives the first of two words 0.45: below one half, so another token may be likelier."""

    def __init__(self, backend: WhisperBackend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def likelihood(self, *_: object) -> list[float]:
        return [0.45, 0.9, 0.5]


def load_doubtful(path: Path, **told: Any) -> Any:
    return DoubtfulBackend(load_backend(path, **told))


@pytest.mark.parametrize(
    ("name", "seconds", "sure"), [("base", 1.5, False), ("base", 2.5, True), ("tiny.en", 1.5, True)]
)
def test_a_short_text_with_a_doubtful_word_is_decoded(
    clips: dict[str, RecordedClip], name: str, seconds: float, sure: bool
) -> None:
    doubtful = WhisperEngine(models.whisper(name), load=load_doubtful)
    pcm = clips["sense01"].float32[: round(seconds * 16_000)]
    early = doubtful.decode(pcm[: -round(0.1 * 16_000)])
    assert early.text
    assert (confirmed(doubtful, pcm, early, seconds) is not None) == sure
