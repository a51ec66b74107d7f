from __future__ import annotations

import pytest

from voice_agent.stt.hypothesis import words_key


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
