"""Which written word is heard when."""

from __future__ import annotations

import pytest

from voice_agent.tts.word_timing import Group, WordTimes, match, written


@pytest.mark.parametrize("text", ["", " ", "one", " two  words \n", "Sure, it is 42.\n\nYes."])
def test_the_words_put_together_are_the_text(text: str) -> None:
    assert "".join(written(text)) == text


def test_one_to_one() -> None:
    places = match(["Hello ", "there, ", "how"], [5, 3, 2])
    assert [(p.text, p.first, p.last) for p in places] == [("Hello ", 0, 0), ("there, ", 1, 1), ("how", 2, 2)]


def test_two_words_said_in_one_breath_share_it() -> None:
    """espeak: "end of the story" is "ɛnd ʌvðə stɔɹi"."""
    places = match(["end ", "of ", "the ", "story"], [3, 4, 6])
    assert [(p.first, p.last) for p in places] == [(0, 0), (1, 1), (1, 1), (2, 2)]
    assert places[1].share_to == places[2].share_from == pytest.approx(2.5 / 6)


def test_a_number_is_several_breaths() -> None:
    places = match(["it's ", "42 ", "miles"], [3, 5, 2, 4])
    assert [(p.first, p.last) for p in places] == [(0, 0), (1, 2), (3, 3)]


def test_every_word_has_a_place_in_order_whatever_the_groups() -> None:
    words = written("This has - some * odd 3.50 $ things, and 7 more (of them).")
    for n in range(1, 20):
        places = match(words, [3] * n)
        assert [p.text for p in places] == words
        assert [p.first for p in places] == sorted(p.first for p in places)
        assert all(0 <= p.first <= p.last < n for p in places)


def test_nothing_to_match() -> None:
    assert match([], [1, 2]) == match(["a"], []) == []


def test_a_word_comes_out_with_its_sentence() -> None:
    times = WordTimes("Yes. No.", begins_s=2.0)
    times.sentence([Group(3, 0.1, 0.4)], (3, 2), 0, 0.6)
    ((text, start, end),) = times.take(skipped_s=0.05)
    assert text == "Yes. "
    assert [start, end] == pytest.approx([2.05, 2.35])
    assert times.take(skipped_s=0.05) == []
    times.sentence([Group(2, 0.0, 0.2)], (3, 2), 1, 0.3)
    ((text, start, end),) = times.take(skipped_s=0.05)
    assert text == "No."
    assert [start, end] == pytest.approx([2.55, 2.75])
    assert times.rest(2.85) == []


def test_a_voice_without_times_spreads_its_words() -> None:
    times = WordTimes("one two", begins_s=1.0)
    times.sentence((), (), 0, 1.0)
    assert times.take(skipped_s=0.0) == []
    assert times.rest(2.0) == [("one ", 1.0, 1.5), ("two", 1.5, 2.0)]
