from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.tts.normalize import speakable

# (written, what an English voice is given)
TABLE = [
    ('**Bold** and *it* and `code` and ***x***.', 'Bold and it and code and x.'),
    ('# Head\n- one\n- two\n\n1. First\n2. Second thing', 'Head. one. two. 1: First. 2: Second thing'),
    (
        '[link](http://a.b/c) and ![pic](x.png) see https://www.example.com/a/b?x=1, or www.foo.org/help.',
        'link and pic see example dot com, or foo dot org slash help.',
    ),
    ('Mail john.doe@example.com.', 'Mail john dot doe at example dot com.'),
    ('```python\nprint(1)\n```\nDone', 'Code left out. Done'),
    ('| a | b |\n|---|---|\n| 1 | 2 |', 'a, b. 1, 2.'),
    ('Hi \U0001f600\U0001f44d\U0001f3fd! \u2713 ok', 'Hi! ok'),
    ('$5', '5 dollars'),
    ('$1.50', '1 dollar and 50 cents'),
    ('$1', '1 dollar'),
    ('\xa33.01', '3 pounds and 1 penny'),
    ('$3.5 million', '3.5 million dollars'),
    ('$5bn', '5 billion dollars'),
    ('\u20ac20', '20 euros'),
    ('5\u20ac', '5 euros'),
    ('$1,200.00', '1,200 dollars'),
    ('$0.99', '99 cents'),
    ('\xa5100', '100 yen'),
    ('3:05 pm', '3 oh 5 P M'),
    ('3:00 p.m. today', '3 P M today'),
    ('at 5 p.m.', 'at 5 P M.'),
    ('12:00', "12 o'clock"),
    ('12:30', '12 30'),
    ('at 7 a.m. on Monday', 'at 7 A M on Monday'),
    ('7am', '7 A M'),
    ('14:45', '14 45'),
    ('2024-05-03', 'May 3rd, 20 24'),
    ('3/4/2024', 'March 4th, 20 24'),
    ('Jan. 5', 'January 5'),
    ('5 Oct 2023', '5 October 20 23'),
    ('in 1984, 2024, 1905, 1800 and 2007', 'in 19 84, 20 24, 19 oh 5, 18 hundred and 2007'),
    ("the 1990s and '80s", 'the 19 nineties and eighties'),
    ('10-20 people', '10 to 20 people'),
    ('1990-1995', '19 90 to 19 95'),
    ('555-123-4567', '5 5 5, 1 2 3, 4 5 6 7'),
    ('+1 (555) 123-4567', 'plus 1, 5 5 5, 1 2 3, 4 5 6 7'),
    ('555-1234', '5 5 5, 1 2 3 4'),
    ('0800 123 456', '0 8 0 0, 1 2 3, 4 5 6'),
    ('192.168.0.1', '192 dot 168 dot 0 dot 1'),
    ('1/2 cup, 3/4, 24/7, 50/50, 5/8', 'one half cup, three quarters, 24 7, 50 50, 5 over 8'),
    (
        '5 km and 1 km, 60 mph, 16GB, 2.5GHz, 10 kg, 5 ft',
        '5 kilometers and 1 kilometer, 60 miles per hour, 16 gigabytes, 2.5 gigahertz, 10 kilograms, 5 feet',
    ),
    ('20\xb0C, -5 \xb0F, 90\xb0', '20 degrees Celsius, -5 degrees Fahrenheit, 90 degrees'),
    (
        'Dr. Smith and Mr. Jones, e.g. cats, i.e. felines, etc. Then etc.',
        'Doctor Smith and Mister Jones, for example cats, that is felines, et cetera. Then et cetera.',
    ),
    ('St. John lives on Main St. near', 'Saint John lives on Main Street near'),
    ('U.S. troops and the U.S.', 'U S troops and the U S.'),
    ('J. R. R. Tolkien', 'J R R Tolkien'),
    ('#1 and No. 5', 'number 1 and number 5'),
    ('~5 and 3x and 10x10 and 5 \xd7 3', 'about 5 and 3 times and 10 by 10 and 5 by 3'),
    ('word\u2014word -- ok', 'word, word, ok'),
    ('snake_case_name', 'snake case name'),
    ('Q&A and A & B', 'Q&A and A and B'),
    ('AT&T', 'AT&T'),
    ("don't **stop", "don't stop"),
    ('now* and', 'now and'),
    ('a * b', 'a * b'),
    ('x = y', 'x = y'),
    ('na\xefve caf\xe9 \u4f60\u597d', 'na\xefve caf\xe9 \u4f60\u597d'),
    ('', ''),
    ('\U0001f600', ''),
    ('...', ''),
    ('1,234.5', '1,234.5'),
    ('v1.2.3', 'v1.2.3'),
    ('3 - 2', '3 to 2'),
    ('Wait... what', 'Wait... what'),
    ('<b>bold</b>', 'bold'),
    ('COVID-19', 'COVID-19'),
    ("2 m tall, I'm, 5 m", "2 meters tall, I'm, 5 meters"),
    ('1. Only', '1: Only'),
    ('100%', '100%'),
    ('1,000,000', '1,000,000'),
    ("It's 2 in the a.m. now", "It's 2 in the a.m. now"),
    ('5 in', '5 in'),
    ('Version 2.0-beta', 'Version 2.0-beta'),
    ('a/b and and/or w/o', 'a/b and and or without'),
    ('"quoted" (paren)', '"quoted" (paren)'),
]  # fmt: skip


@pytest.mark.parametrize(("written", "said"), TABLE)
def test_written_to_spoken(written: str, said: str) -> None:
    assert speakable(written) == said


def test_dates_follow_the_country() -> None:
    assert speakable("on 3/4/2024", "en-us") == "on March 4th, 20 24"
    assert speakable("on 3/4/2024", "en-gb") == "on April 3rd, 20 24"
    assert speakable("on 2024-13-45") == "on 20 24 13 45"  # no date, but not lost either


def test_other_languages_keep_their_numbers_and_lose_their_markup() -> None:
    assert speakable("**Am** 3.4. kostet es 5 $ \U0001f600, s. [hier](http://a.example/b)", "de") == (
        "Am 3.4. kostet es 5 $, s. hier"
    )
    assert speakable("siehe https://www.a.example/b/c", "de") == "siehe a.example/b/c"
    assert speakable("```\nx\n```", "de") == ""


def test_half_of_a_pair_is_dropped() -> None:
    assert speakable("**Very important") == "Very important"
    assert speakable("indeed** it is, `code") == "indeed it is, code"


def test_long_addresses_are_cut_to_the_host() -> None:
    assert speakable("https://www.a.example/a/very/long/path/to/somewhere.") == "a dot example."
    assert speakable("<https://a.example/b>") == "a dot example slash b"


@given(st.text())
def test_whatever_comes_can_be_handed_to_espeak(text: str) -> None:
    said = speakable(text)
    assert said == "" or any(map(str.isalnum, said))
    assert not {unicodedata.category(c) for c in said} & {"Cc", "Cf", "Cs", "Co", "Cn"}
    said.encode()


@given(st.text(alphabet="*_`~#-[]()<>!|\\/:.@$%0123456789 abAB\n,", max_size=60))
def test_markup_soup_never_fails(text: str) -> None:
    assert "\n" not in speakable(text)


@given(st.lists(st.sampled_from(["Hello", "there", "friend", "well", "done"]), min_size=1, max_size=12))
def test_plain_words_are_left_alone(words: list[str]) -> None:
    text = " ".join(words) + "."
    assert speakable(text) == text
