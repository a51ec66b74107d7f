from __future__ import annotations

import pytest

from voice_agent.turn.turn_text import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's up?", "what's up"),
        ("  TWENTY-one,  please! ", "twenty one please"),
        ("...", ""),
        ("Straße: ja", "strasse ja"),
    ],
)
def test_texts_are_compared_by_their_words(text: str, words: str) -> None:
    assert words_of(text) == words
