from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from faster_whisper import WhisperModel

from voice_agent.config import models
from voice_agent.errors import ConfigError, ModelError
from voice_agent.stt import WhisperEngine, transcribe
from voice_agent.stt.backends.base import Generated, WhisperBackend
from voice_agent.stt.backends.load_backend import load_backend
from voice_agent.stt.decoder import MAX_AUDIO_S
from voice_agent.stt.encoder_window import ENGLISH_WINDOW, MULTILINGUAL_WINDOW, SHORT_S, SHORT_WINDOW_S
from voice_agent.stt.generation import TOKENS
from voice_agent.stt.hypothesis import words_key

from .recorded_clips import RecordedClip, word_errors

Int16 = npt.NDArray[np.int16]


@pytest.mark.parametrize(
    ("heard", "truth", "errors"),
    [("a b c", "A, b. C!", 0), ("a c", "a b c", 1), ("", "a b", 2), ("x b c d", "a b c", 2)],
)
def test_word_errors_counts(heard: str, truth: str, errors: int) -> None:
    assert word_errors(heard, truth) == errors


class TestClips:
    def test_as_right_as_faster_whisper_itself(self, engine: WhisperEngine, clips: dict[str, RecordedClip]) -> None:
        plain = WhisperModel(str(models.whisper("tiny.en")), device="cpu", compute_type="int8", cpu_threads=1)
        ours = theirs = total = 0
        for clip in clips.values():
            segments, _ = plain.transcribe(clip.float32, language="en")
            reference = " ".join(segment.text for segment in segments)
            total += len(words_key(clip.text))
            ours += word_errors(engine.decode(clip.float32).text, clip.text)
            theirs += word_errors(reference, clip.text)
        assert total > 80
        assert ours <= theirs + total / 40, f"{ours} errors, faster-whisper {theirs}, in {total} words"
        assert ours / total < 0.1

    def test_the_window_is_as_short_as_the_speech(self, engine: WhisperEngine, clips: dict[str, RecordedClip]) -> None:
        short, long = engine.decode(clips["ask02"].float32), engine.decode(clips["sense01"].float32)
        assert short.window_s < long.window_s < 12
        assert short.audio_s == pytest.approx(len(clips["ask02"].float32) / 16_000)

    def test_the_last_pass_over_a_word_or_two_has_a_wider_window(self, clips: dict[str, RecordedClip]) -> None:
        """In 3 s base writes one word as two or not, by the 20 ms at which the sound begins (docs/stt.md)."""
        base, pcm = WhisperEngine(models.whisper("base")), clips["sense01"].float32
        short, longer = pcm[: round(SHORT_S * 16_000)], pcm[: round((SHORT_S + 0.1) * 16_000)]
        assert base.decode(short).window_s == SHORT_WINDOW_S
        assert base.decode(short, speech_s=1.8, thorough=False).window_s == SHORT_WINDOW_S  # an energy drop
        assert base.decode(short, thorough=False).window_s == MULTILINGUAL_WINDOW[1]  # in mid-speech a pass is quick
        assert base.decode(longer).window_s == MULTILINGUAL_WINDOW[1]
        asked_for = WhisperEngine(models.whisper("base"), min_window_s=2.5)
        assert asked_for.decode(pcm[:16_000]).window_s == 2.5

    def test_an_english_model_needs_no_wider_one(self, engine: WhisperEngine, clips: dict[str, RecordedClip]) -> None:
        assert engine.decode(clips["sense01"].float32[:16_000]).window_s == ENGLISH_WINDOW[1]

    def test_the_same_audio_gives_the_same_text(self, engine: WhisperEngine, clips: dict[str, RecordedClip]) -> None:
        pcm = clips["sense02"].float32
        assert engine.decode(pcm).tokens == engine.decode(pcm).tokens

    def test_words_lie_in_order_inside_the_audio(self, engine: WhisperEngine, clips: dict[str, RecordedClip]) -> None:
        h = engine.decode(clips["sense04"].float32)
        words = engine.words(h)
        assert words_key("".join(w.text for w in words)) == h.key
        assert all(a.start_s <= b.start_s for a, b in itertools.pairwise(words))
        assert all(0 <= w.start_s <= w.end_s <= h.audio_s + 0.05 for w in words)

    def test_a_recording_of_any_length(self, engine: WhisperEngine, read: list[RecordedClip]) -> None:
        pcm = np.concatenate([np.concatenate([clip.float32, np.zeros(8000, np.float32)]) for clip in read * 2])
        assert len(pcm) / 16_000 > 40
        truth = " ".join(clip.text for clip in read * 2)
        assert word_errors(transcribe(engine, pcm), truth) <= len(words_key(truth)) / 8

    def test_more_than_a_window_is_refused(self, engine: WhisperEngine) -> None:
        with pytest.raises(ValueError, match=r"29\.0 s"):
            engine.decode(np.zeros(29 * 16_000, np.float32))
        assert MAX_AUDIO_S < 29


class WatchedBackend:
    """A backend that notes what it generates."""

    def __init__(self, backend: WhisperBackend) -> None:
        self._backend = backend
        self.made: list[Generated] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def generate(self, *told: Any) -> Generated:
        self.made.append(self._backend.generate(*told))
        return self.made[-1]


def test_decoding_stops_at_the_end_of_the_audio(clips: dict[str, RecordedClip]) -> None:
    """Nothing is generated after a timestamp in the last 0.35 s; each of these texts has its end there."""
    watched: list[WatchedBackend] = []

    def load(path: Path, **told: Any) -> Any:
        watched.append(WatchedBackend(load_backend(path, **told)))
        return watched[0]

    engine = WhisperEngine(models.whisper("tiny.en"), load=load)
    begin = engine.tokenizer("en").timestamp_begin
    for clip in clips.values():
        watched[0].made.clear()
        engine.decode(clip.float32)
        ids = watched[0].made[0].ids
        late = [at for at, i in enumerate(ids) if at and (i - begin) / 50 >= len(clip.float32) / 16_000 - 0.35]
        assert late == [len(ids) - 1], ids


def test_a_loop_ends_where_the_sound_can_hold_no_more(engine: WhisperEngine, clips: dict[str, RecordedClip]) -> None:
    pcm = clips["ask01"].float32
    before = replace(engine.decode(pcm), audio_s=len(pcm) / 16_000)
    few = replace(before, tokens=before.tokens[:1])  # room for the first word and five tokens
    hasty = engine.decode(pcm, before=few, thorough=False)
    assert len(hasty.tokens) <= 1 + TOKENS
    assert hasty.guard == "hasty"
    assert engine.decode(pcm, before=few).key == before.key  # the last pass must not lose what was said


@pytest.mark.parametrize(
    "name", ["silence", "faint white noise", "white noise", "pink noise", "mains hum", "music", "breath"]
)
@pytest.mark.parametrize("seconds", [0.4, 2.0])
def test_what_is_no_speech_has_no_words(
    engine: WhisperEngine, noises: dict[str, Int16], name: str, seconds: float
) -> None:
    pcm = noises[name][: round(seconds * 16_000)].astype(np.float32) / 32768.0
    h = engine.decode(pcm)
    assert words_key(h.text) == (), h


@pytest.mark.parametrize("samples", [0, 1, 160, 512])
def test_next_to_nothing(engine: WhisperEngine, samples: int) -> None:
    assert engine.decode(np.zeros(samples, np.float32)).text == ""


class TestWrongConfiguration:
    def test_a_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"did not load.*stt\.model") as caught:
            WhisperEngine(tmp_path)
        assert str(tmp_path) in str(caught.value)

    def test_a_type_the_machine_does_not_know(self) -> None:
        with pytest.raises(ModelError, match=r"stt\.compute_type"):
            WhisperEngine(models.whisper("tiny.en"), compute_type="int3")

    def test_a_language_the_model_does_not_know(self) -> None:
        with pytest.raises(ConfigError, match=r"stt\.language='de'.*English only"):
            WhisperEngine(models.whisper("tiny.en"), language="de")

    def test_no_language_at_all(self) -> None:
        with pytest.raises(ConfigError, match=r"stt\.language='xx'"):
            WhisperEngine(models.whisper("base"), language="xx")
