from __future__ import annotations

from xml.etree import ElementTree

import pytest

from voice_agent.config import Secret
from voice_agent.config.redaction import redact, redact_message, redact_values

KEY = Secret("canary-4f9d2c7e1b8a")


@pytest.mark.parametrize(
    "text", ["Incorrect key: sk-abcdEFGH12345678", "Bearer abc.def", "key csk-aaaa****bbbb1234", "x" * 40, KEY.reveal()]
)
def test_a_message_of_another_program(text: str) -> None:
    shown = redact_message(text, KEY)
    assert "***" in shown
    assert not any(part in shown for part in ("EFGH", "abc.def", "bbbb", "xxxx", KEY.reveal()))


def test_a_message_without_a_secret_keeps_its_words() -> None:
    assert redact_message("Tokens per minute limit exceeded", KEY) == "Tokens per minute limit exceeded"
    assert len(redact_message("word " * 100, None)) == 200


@pytest.mark.parametrize(
    "secret",
    [
        "Bearer abcdefgh12345", "api_key=abcdef", 'API-KEY: "abcdef"', "gsk_abcdefgh1234", "hf_abcdefghijkl",
        "ghp_abcdefghijklmnop", "AIza" + "x" * 30, "eyJabcdefgh.eyJabcdefgh.abcdefghijk", "wss://a:b@h.example",
    ],
)  # fmt: skip
def test_values_that_look_like_keys(secret: str) -> None:
    found = redact_values({"text": [f"it is {secret} ."], "api_secret": "x", "tokens": 4})
    assert "***" in found["text"][0]
    assert "abcdef" not in found["text"][0]
    assert found["api_secret"] == "***"
    assert found["tokens"] == 4
    kept = {"a": "the bearer of bad news; a password is long; sky-high", "b": [1, None, 0.5, True]}
    assert redact_values(kept) == kept


@pytest.mark.parametrize("secret", ["Bearer abcdefgh12345", "api_key=abcdefgh12345", "ya29.abcdefgh12345"])
def test_markup_around_a_secret_stays_well_formed(secret: str) -> None:
    root = ElementTree.fromstring(redact(f'<run><note>{secret}</note><note key="{secret}"/></run>'))
    assert [(note.tag, "abcdefgh" in f"{note.text}{note.get('key')}") for note in root] == [("note", False)] * 2
