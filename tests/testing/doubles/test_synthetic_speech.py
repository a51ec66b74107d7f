"""Words that ride in the sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.testing.doubles.synthetic_speech import FRAME, RATE, spoken, text_in, voiced_share, word_s, words_in

WORD = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(WORD, min_size=1, max_size=6), st.integers(0, 700))
def test_what_is_said_is_heard(words: list[str], lead: int) -> None:
    pcm = np.concatenate([np.zeros(lead, np.int16), spoken(" ".join(words)).pcm])
    assert text_in(pcm) == " ".join(" ".join(words).split())


def test_pauses_and_places() -> None:
    said = spoken("To mute", 0.5, "press star.")
    found = words_in(said.pcm)
    assert [w.text for w in found] == ["To", "mute", "press", "star."]
    assert found[2].start - found[1].stop == 0.5 * RATE
    assert said.end_s == len(said.pcm) / RATE
    assert found[1].stop - found[1].start == pytest.approx(word_s("mute") * RATE, abs=FRAME)


def test_a_word_is_heard_once_half_of_it_is_there() -> None:
    pcm = spoken("yes telephone").pcm
    last = words_in(pcm)[-1]
    half = (last.start + last.stop) // 2
    assert text_in(pcm[: half - 3 * FRAME]) == "yes"
    assert text_in(pcm[: half + 3 * FRAME]) == "yes telephone"
    assert text_in(pcm[half - 3 * FRAME :]) == "telephone"


def test_equal_words_stay_apart() -> None:
    assert text_in(spoken("no no no").pcm) == "no no no"


def test_two_speeches_on_other_grids() -> None:
    pcm = np.concatenate([spoken("one two").pcm, np.zeros(77, np.int16), spoken("three").pcm])
    assert text_in(pcm) == "one two three"


def test_noise_says_nothing() -> None:
    noise = np.random.default_rng(3).integers(-3000, 3000, RATE * 30).astype(np.int16)
    assert text_in(noise) == ""
    assert voiced_share(noise[:512]) == 0
    assert voiced_share(np.zeros(512, np.int16)) == 0


def test_a_window_of_speech_is_voiced() -> None:
    pcm = spoken("congratulations").pcm
    assert voiced_share(pcm[1024:1536]) == 1.0
    assert voiced_share(np.concatenate([pcm[:256], np.zeros(256, np.int16)])) == 0.5


@pytest.mark.parametrize("parts", [(), (0.5,), ("  ",)])
def test_nothing_to_say_is_refused(parts: tuple[str | float, ...]) -> None:
    with pytest.raises(ValueError, match="at least one word"):
        spoken(*parts)


def test_dither_and_a_faint_sound_do_no_harm() -> None:
    pcm = spoken("what is the weather like").pcm
    dither = np.random.default_rng(5).integers(-3, 4, len(pcm)).astype(np.int16)
    assert text_in(pcm + dither) == "what is the weather like"
