from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.tts.chunker import Chunk, Chunker, ChunkLimits


def chunks(text: str, *, step: int = 4, low_buffer_chunks: int = 1, limits: ChunkLimits | None = None) -> list[Chunk]:
    """Push ``text`` ``step`` characters at a time; the buffer is low until ``low_buffer_chunks`` have come out."""
    chunker, out = Chunker(limits), list[Chunk]()
    for at in range(0, len(text), step):
        chunker.push(text[at : at + step])
        while chunk := chunker.take(low_buffer=len(out) < low_buffer_chunks):
            out.append(chunk)
    chunker.close()
    while chunk := chunker.take(low_buffer=len(out) < low_buffer_chunks):
        out.append(chunk)
    assert chunker.exhausted
    return out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sure, I can do that. What else?", ["Sure,", "I can do that.", "What else?"]),
        ("It is 3.5 miles. Then left.", ["It is 3.5 miles.", "Then left."]),
        ("About 1,000 people, I think. Yes.", ["About 1,000 people,", "I think.", "Yes."]),
        ("Ask Dr. Smith. He knows.", ["Ask Dr. Smith.", "He knows."]),
        ("Fruit, e.g. apples. Or pears, i.e. not apples.", ["Fruit,", "e.g. apples.", "Or pears, i.e. not apples."]),
        ("Cats etc. are here. Dogs etc. They bark.", ["Cats etc. are here.", "Dogs etc.", "They bark."]),
        ("The U.S. team won. It was close.", ["The U.S. team won.", "It was close."]),
        ("J. R. R. Tolkien wrote it. Yes.", ["J. R. R. Tolkien wrote it.", "Yes."]),
        ("We meet at 5 p.m. on Monday. At 5 p.m. We go.", ["We meet at 5 p.m. on Monday.", "At 5 p.m.", "We go."]),
        ("It is No. 5. No. I mean six.", ["It is No. 5.", "No.", "I mean six."]),
        ("See https://a.example/b,c?d=1.5 now. Good.", ["See https://a.example/b,c?d=1.5 now.", "Good."]),
        ("Really?! \"Yes.\" (He nods.) Well...", ["Really?!", '"Yes."', "(He nods.)", "Well..."]),
        ("1. Bread\n2. Milk, fresh\n\nThat is all.", ["1. Bread", "2. Milk, fresh", "That is all."]),
        ("It is [a, b](http://m.example/a), see. Ok.", ["It is [a, b](http://m.example/a),", "see.", "Ok."]),
        ("Run `a, b. c` now. Done.", ["Run `a, b. c` now.", "Done."]),
        ("So:\n```py\na = 1, 2. \n\nb\n```\nThat is it.", ["So:", "```py\na = 1, 2. \n\nb\n```", "That is it."]),
        ("I, too, think so. Yes.", ["I, too,", "think so.", "Yes."]),
        ("It is late — go home. Now.", ["It is late —", "go home.", "Now."]),
        ("At 12:30 sharp. Ok.", ["At 12:30 sharp.", "Ok."]),
        ("\u4f60\u597d\uff0c\u4e16\u3002\u5f88\u597d\uff01", ["\u4f60\u597d\uff0c\u4e16\u3002", "\u5f88\u597d\uff01"]),
        ("ok", ["ok"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [3, 7, 1000])
def test_clauses_first_then_sentences(text: str, expected: list[str], step: int) -> None:
    assert [c.text.strip() for c in chunks(text, step=step)] == expected


@given(st.text(), st.integers(1, 50), st.integers(0, 3))
def test_nothing_is_lost_or_doubled(text: str, step: int, low_buffer_chunks: int) -> None:
    assert "".join(c.text for c in chunks(text, step=step, low_buffer_chunks=low_buffer_chunks)) == text


_MARKS = 'Dr. Smith 3.5 1,000 e.g. etc. ``` ` [a]( ) word and . , ? ! : \u2014 ... 1. - p.m. " ** \u3002'
_LIKELY = st.lists(st.sampled_from([" ", " ", "\n", *_MARKS.split(" ")]), max_size=80).map("".join)


@given(_LIKELY, st.integers(1, 9), st.booleans())
def test_nothing_is_lost_in_text_full_of_marks(text: str, step: int, always_low_buffer: bool) -> None:
    got = chunks(text, step=step, low_buffer_chunks=1000 if always_low_buffer else 1, limits=ChunkLimits(max_chars=60))
    assert "".join(c.text for c in got) == text
    assert all(c.text for c in got)


@given(st.lists(st.sampled_from(["go", "Dr. Smith", "3.5", "www.a.example/b.c", "e.g. this"]), min_size=1, max_size=30))
def test_atoms_stay_whole(atoms: list[str]) -> None:
    text = " ".join(atoms) + "."
    for chunk in chunks(text):
        for atom in ("3.5", "www.a.example/b.c"):
            assert not any(chunk.text.endswith(atom[:n]) for n in range(atom.index(".") + 1, len(atom)))
        assert not chunk.text.rstrip().endswith(("Dr.", "e.g."))


def test_the_first_clause_does_not_wait_for_the_next_token() -> None:
    chunker = Chunker()
    chunker.push("Sure,")
    assert chunker.take(low_buffer=True) == Chunk("Sure,")
    chunker.push(" 3,")
    assert chunker.take(low_buffer=True) is None  # "3,000" may follow


def test_with_enough_audio_ahead_the_sentence_is_waited_for() -> None:
    chunker = Chunker()
    chunker.push("Well, as I said, it is ")
    assert chunker.take(low_buffer=False) is None
    assert chunker.take(low_buffer=True) == Chunk("Well, ")
    chunker.push("late. And")
    assert chunker.take(low_buffer=False) == Chunk("as I said, it is late. ")


def test_long_run_of_words_is_cut_before_a_word_to_breathe_at() -> None:
    text = "The quick brown fox jumps over the lazy dog near the river and sleeps."
    first, *rest = chunks(text)
    assert first == Chunk("The quick brown fox jumps ", joined=True)
    assert "".join(c.text for c in rest) == "over the lazy dog near the river and sleeps."


def test_words_without_any_break_are_cut_by_number() -> None:
    chunker = Chunker(ChunkLimits(low_buffer_words=12))
    chunker.push("one two three four five six seven eight nine ten eleven twelve thirteen ")
    assert chunker.take(low_buffer=True) == Chunk(
        "one two three four five six seven eight nine ten eleven twelve ", True
    )


def test_no_chunk_is_longer_than_the_limit() -> None:
    limits = ChunkLimits(max_chars=50)
    for text in ("word " * 100 + ".", "x" * 500, "long clause here, " * 30):
        assert max(len(c.text) for c in chunks(text, limits=limits)) <= 50


def test_code_is_given_whole_however_long() -> None:
    code = "```\n" + "x = 1. y, z\n" * 100 + "```\n"
    assert code in [c.text for c in chunks("See:\n" + code + "Done.")]


def test_pushing_after_the_end_is_a_mistake() -> None:
    chunker = Chunker()
    chunker.close()
    with pytest.raises(ValueError, match="new Chunker"):
        chunker.push("more")
