from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest
from faster_whisper import WhisperModel

from voice_agent.config import models
from voice_agent.errors import ConfigError, ModelError
from voice_agent.stt import WhisperEngine, transcribe
from voice_agent.stt.backends.ctranslate2 import Generated
from voice_agent.stt.decoder import (
    CONFIRM_MORE_S,
    ENGLISH_WINDOW,
    MAX_AUDIO_S,
    MULTILINGUAL_WINDOW,
    SHORT_S,
    SHORT_WINDOW_S,
    TOKENS,
    Hypothesis,
    words_key,
)
from voice_agent.stt.guards.inflection import inflections
from voice_agent.stt.guards.repetition import repetitions_removed, strip_restart

Int16 = npt.NDArray[np.int16]
Float32 = npt.NDArray[np.float32]


class Clip(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def end_s(self) -> float: ...
    @property
    def float32(self) -> Float32: ...


def word_errors(heard: str, truth: str) -> int:
    """Levenshtein distance in words."""
    a, b = words_key(heard), words_key(truth)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i, *row[1:]], row
        for j, y in enumerate(b, 1):
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
    return row[-1]


@pytest.mark.parametrize(
    ("heard", "truth", "errors"),
    [("a b c", "A, b. C!", 0), ("a c", "a b c", 1), ("", "a b", 2), ("x b c d", "a b c", 2)],
)
def test_word_errors_counts(heard: str, truth: str, errors: int) -> None:
    assert word_errors(heard, truth) == errors


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Who wrote it?", ("who", "wrote", "it")),
        ("twenty-one, PLEASE!", ("twenty", "one", "please")),
        ("It's -- well -- fine", ("it's", "well", "fine")),
        ("  ...  ", ()),
        ("", ()),
    ],
)
def test_words_key(text: str, key: tuple[str, ...]) -> None:
    assert words_key(text) == key


class TestRestart:
    @pytest.mark.parametrize(
        ("text", "audio_s", "kept"),
        [
            ("please hold while. Please hold while", 1.2, "please hold while."),
            ("Please hold. Please hold. Please hold.", 1.0, "Please hold."),
            ("no matches found. There are no matches found. There are no match", 2.0, "no matches found."),
            ("Who wrote it? Who wrote", 0.9, "Who wrote it?"),
            ("He was not an ill-disposed He was not an", 1.5, "He was not an ill-disposed"),
            ("What is the capital of France? What is the capital of France?", 1.9, "What is the capital of France?"),
            ("your call. YOUR CALL your call", 0.8, "your call."),
        ],
    )
    def test_a_loop_is_cut_to_its_first_round(self, text: str, audio_s: float, kept: str) -> None:
        assert strip_restart(text, audio_s) == (kept, True)

    def test_of_two_rounds_that_differ_in_a_word_the_riper_one_is_kept(self) -> None:
        twice = "They have been carried away by monkey. They have been carried away by monkeys."
        assert strip_restart(twice, 2.6) == ("They have been carried away by monkeys.", True)

    @pytest.mark.parametrize(
        ("text", "audio_s"),
        [
            ("no no no", 0.6),
            ("No, no, no, no!", 2.0),
            ("No, no, no, no!", 1.0),
            ("bye bye", 0.4),
            ("Bye bye, bye bye.", 1.6),
            ("very very good", 0.7),
            ("please hold while I look, please hold while I look", 4.0),
            ("one two three", 0.5),
            ("the more the merrier", 0.9),
            ("that that is is", 0.9),
            ("I know what I know", 1.6),
            ("", 0.0),
            ("yes", 0.1),
        ],
    )
    def test_what_can_have_been_said_is_kept(self, text: str, audio_s: float) -> None:
        assert strip_restart(text, audio_s) == (text, False)

    def test_the_same_words_are_a_loop_or_not_by_the_time_there_was(self) -> None:
        twice = "please hold the line please hold the line"
        assert strip_restart(twice, 1.0)[1]
        assert not strip_restart(twice, 4.0)[1]

    def test_a_phrase_said_three_times_at_the_end_is_said_once(self) -> None:
        kept, cut = strip_restart("We will call you back" + " as soon as" * 3, 3.0)
        assert (kept, cut) == ("We will call you back as soon as", True)

    def test_a_loop_that_is_cut_short_leaves_a_whole_sentence(self) -> None:
        """tiny.en, 4.5 s of a telephone menu: the word before the first round is the last of a round as well."""
        loop = "3 for advanced options." + " Press 0 for mailbox options." * 3 + " Press 0 for mailbox"
        assert strip_restart(loop, 4.5) == ("3 for advanced options. Press 0 for mailbox options.", True)


class TestClips:
    def test_as_right_as_faster_whisper_itself(self, engine: WhisperEngine, clips: dict[str, Clip]) -> None:
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

    def test_the_window_is_as_short_as_the_speech(self, engine: WhisperEngine, clips: dict[str, Clip]) -> None:
        short, long = engine.decode(clips["ask02"].float32), engine.decode(clips["sense01"].float32)
        assert short.window_s < long.window_s < 12
        assert short.audio_s == pytest.approx(len(clips["ask02"].float32) / 16_000)

    def test_the_last_pass_over_a_word_or_two_has_a_wider_window(self, clips: dict[str, Clip]) -> None:
        """In 3 s base writes one word as two or not, by the 20 ms at which the sound begins (docs/hearing.md)."""
        base, pcm = WhisperEngine(models.whisper("base")), clips["sense01"].float32
        short, longer = pcm[: round(SHORT_S * 16_000)], pcm[: round((SHORT_S + 0.1) * 16_000)]
        assert base.decode(short).window_s == SHORT_WINDOW_S
        assert base.decode(short, speech_s=1.8, thorough=False).window_s == SHORT_WINDOW_S  # the voice fades
        assert base.decode(short, thorough=False).window_s == MULTILINGUAL_WINDOW[1]  # in mid-speech a pass is quick
        assert base.decode(longer).window_s == MULTILINGUAL_WINDOW[1]
        asked_for = WhisperEngine(models.whisper("base"), min_window_s=2.5)
        assert asked_for.decode(pcm[:16_000]).window_s == 2.5

    def test_an_english_model_needs_no_wider_one(self, engine: WhisperEngine, clips: dict[str, Clip]) -> None:
        assert engine.decode(clips["sense01"].float32[:16_000]).window_s == ENGLISH_WINDOW[1]

    def test_the_same_audio_gives_the_same_text(self, engine: WhisperEngine, clips: dict[str, Clip]) -> None:
        pcm = clips["sense02"].float32
        assert engine.decode(pcm).tokens == engine.decode(pcm).tokens

    def test_words_lie_in_order_inside_the_audio(self, engine: WhisperEngine, clips: dict[str, Clip]) -> None:
        h = engine.decode(clips["sense04"].float32)
        words = engine.words(h)
        assert words_key("".join(w.text for w in words)) == h.key
        assert all(a.start_s <= b.start_s for a, b in itertools.pairwise(words))
        assert all(0 <= w.start_s <= w.end_s <= h.audio_s + 0.05 for w in words)

    def test_a_recording_of_any_length(self, engine: WhisperEngine, read: list[Clip]) -> None:
        pcm = np.concatenate([np.concatenate([clip.float32, np.zeros(8000, np.float32)]) for clip in read * 2])
        assert len(pcm) / 16_000 > 40
        truth = " ".join(clip.text for clip in read * 2)
        assert word_errors(transcribe(engine, pcm), truth) <= len(words_key(truth)) / 8

    def test_more_than_a_window_is_refused(self, engine: WhisperEngine) -> None:
        with pytest.raises(ValueError, match=r"29\.0 s"):
            engine.decode(np.zeros(29 * 16_000, np.float32))
        assert MAX_AUDIO_S < 29


def confirmed(engine: WhisperEngine, pcm: Float32, early: Hypothesis, speech_s: float) -> Hypothesis | None:
    """What the engine says at once of ``early``, made of the beginning; None where it had to decode."""
    heard = engine.decode(pcm, before=early, speech_s=speech_s)
    return heard if heard.guard == "confirmed" else None


class TestConfirm:
    @pytest.mark.parametrize("name", ["sense01", "sense04", "sense05", "ask01", "ask03"])
    def test_the_text_of_all_but_the_fading_end_is_confirmed(
        self, engine: WhisperEngine, clips: dict[str, Clip], name: str
    ) -> None:
        pcm, end_s = clips[name].float32, clips[name].end_s
        end = round(end_s * 16_000)
        early = engine.decode(pcm[:end])
        found = confirmed(engine, pcm[: end + 1024], early, end_s)
        assert found is not None
        assert found.text == early.text
        assert found.audio_s == pytest.approx((min(end + 1024, len(pcm))) / 16_000)

    def test_a_text_with_a_doubtful_word_near_the_end_is_decoded_again(
        self, engine: WhisperEngine, clips: dict[str, Clip]
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
        self, engine: WhisperEngine, clips: dict[str, Clip], name: str
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

    def test_much_more_speech_than_the_text_had_is_decoded(self, engine: WhisperEngine, clips: dict[str, Clip]) -> None:
        pcm = clips["sense01"].float32
        assert confirmed(engine, pcm, engine.decode(pcm[: len(pcm) // 2]), clips["sense01"].end_s) is None

    def test_silence_after_it_does_not_count_as_speech(self, engine: WhisperEngine, clips: dict[str, Clip]) -> None:
        end_s = clips["ask01"].end_s
        spoken = clips["ask01"].float32[: round(end_s * 16_000)]
        early = engine.decode(spoken)
        pcm = np.concatenate([spoken, np.zeros(round(CONFIRM_MORE_S * 1.5 * 16_000), np.float32)])
        found = confirmed(engine, pcm, early, end_s)
        assert found is not None
        assert found.key == early.key

    def test_nothing_is_not_confirmed(self, engine: WhisperEngine) -> None:
        silence = np.zeros(16_000, np.float32)
        assert confirmed(engine, silence, engine.decode(silence), 0.5) is None

    @pytest.mark.parametrize("name", ["sense01", "sense02", "sense04", "sense05", "ask01", "ask02", "ask03"])
    def test_the_ending_of_the_last_word_is_heard_and_never_invented(
        self, engine: WhisperEngine, clips: dict[str, Clip], name: str
    ) -> None:
        end_s = clips[name].end_s
        pcm = clips[name].float32[: round(end_s * 16_000) + 1024]
        whole = engine.decode(pcm)
        tokenizer = engine._tokenizer("en")
        for text in [*inflections(whole.text), without_ending(whole.text)]:
            wrong = replace(whole, text=text + ".", tokens=tuple(tokenizer.encode(f" {text}.")))
            found = confirmed(engine, pcm, wrong, end_s)
            assert found is None or found.key == whole.key


class Doubtful(WhisperEngine):
    """Whose decoder gives the first of two words 0.45: less than half, so that another token may be likelier."""

    def _likelihood(self, text: str, audio_s: float, encoded: object, tokenizer: object) -> tuple[list[float], int]:
        return [0.45, 0.9, 0.5], 1


@pytest.mark.parametrize(
    ("name", "seconds", "sure"), [("base", 1.5, False), ("base", 2.5, True), ("tiny.en", 1.5, True)]
)
def test_a_doubtful_word_or_two_are_decoded_and_not_confirmed(
    clips: dict[str, Clip], name: str, seconds: float, sure: bool
) -> None:
    doubtful = Doubtful(models.whisper(name))
    pcm = clips["sense01"].float32[: round(seconds * 16_000)]
    early = doubtful.decode(pcm[: -round(0.1 * 16_000)])
    assert early.text
    assert (confirmed(doubtful, pcm, early, seconds) is not None) == sure


def without_ending(text: str) -> str:
    return re.sub(r"(es|ed|s|d)?\W*$", "", text)


@pytest.mark.parametrize(
    ("text", "endings"),
    [
        ("It does not accept unidentified call.", ["calls", "called"]),
        ("Your call cannot be completed as dial", ["dials", "dialed"]),
        ("Press one to continue?", ["continues", "continued"]),
        ("They were carried away by monkeys.", []),
        ("It was dialed.", []),
        ("Press 1", []),
        ("", []),
    ],
)
def test_endings_that_a_word_may_get(text: str, endings: list[str]) -> None:
    assert [other.split()[-1] for other in inflections(text)] == endings


def test_decoding_stops_at_the_end_of_the_sound(
    engine: WhisperEngine, clips: dict[str, Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked for after a time in the last 0.35 s; the text has its end there in all of these."""
    made: list[Generated] = []
    generate = engine._model.generate

    def watched(*told: Any) -> Generated:
        made.append(generate(*told))
        return made[-1]

    monkeypatch.setattr(engine._model, "generate", watched)
    begin = engine._tokenizer("en").timestamp_begin
    for clip in clips.values():
        made.clear()
        engine.decode(clip.float32)
        ids = made[0].ids
        late = [at for at, i in enumerate(ids) if at and (i - begin) / 50 >= len(clip.float32) / 16_000 - 0.35]
        assert late == [len(ids) - 1], ids


def test_a_loop_ends_where_the_sound_can_hold_no_more(engine: WhisperEngine, clips: dict[str, Clip]) -> None:
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


class TestRepetitionsRemoved:
    @pytest.mark.parametrize(
        ("text", "once"),
        [
            (
                "They have been carried away by monkeys. I am carried away by monkeys.",
                "They have been carried away by monkeys.",
            ),
            (
                "You cannot reply to this message. Reply to this message because the sender has no mailbox.",
                "You cannot Reply to this message because the sender has no mailbox.",
            ),
        ],
    )
    def test_a_phrase_said_twice_is_proposed_once(self, text: str, once: str) -> None:
        assert once in repetitions_removed(text)

    @pytest.mark.parametrize("text", ["", "yes", "no no no", "Please hold while I try that extension."])
    def test_nothing_repeats(self, text: str) -> None:
        assert repetitions_removed(text) == []
