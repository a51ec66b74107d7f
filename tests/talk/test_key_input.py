"""Bytes in, commands and lines out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.talk.key_input import COMMANDS, KeyCommand, KeyInput, TypedLine


def press(*pieces: bytes) -> list[KeyCommand | TypedLine]:
    keys = KeyInput()
    return [done for piece in pieces for done in keys.feed(piece)]


@pytest.mark.parametrize(("key", "name"), sorted(COMMANDS.items()))
def test_a_single_key(key: str, name: str) -> None:
    assert press(key.encode()) == [KeyCommand(name)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (b"hello\r", "hello"),
        (b"hello\n", "hello"),
        (b"What is it?\r", "What is it?"),
        (b"/quit it\r", "quit it"),
        (b"/ r b i q\r", "r b i q"),
        (b"//slash\r", "/slash"),
        (b"and/or\r", "and/or"),
        (b"Is it\r", "Is it"),
        (b"helo\x7flo\r", "hello"),
        (b"no\x15hello\r", "hello"),
        (b"hello word\x17world\r", "hello world"),
        ("déjà vu\r".encode(), "déjà vu"),
        (b"he\x1b[D\x1b[3~\x1bOPllo\r", "hello"),
        (b"he\tllo\r", "hello"),
    ],
)
def test_a_line(typed: bytes, line: str) -> None:
    assert press(typed) == [TypedLine(line)]
    if b"\x1b" not in typed:
        assert press(*(bytes([byte]) for byte in typed)) == [TypedLine(line)]


def test_an_empty_line_is_nothing() -> None:
    assert press(b"\r", b"/\r", b"/  \r", b"\x7f", b"\x15") == []


def test_escape_clears_and_keys_work_again() -> None:
    keys = KeyInput()
    lines = []
    for data in (b"hello q", b"\x1b"):
        assert keys.feed(data) == []
        lines.append(keys.line)
    assert lines == ["hello q", None]
    assert keys.feed(b"q") == [KeyCommand("quit")]


def test_backspace_to_nothing_leaves_the_line() -> None:
    keys = KeyInput()
    lines = []
    for data in (b"a\x7f", b"\x7f"):
        keys.feed(data)
        lines.append(keys.line)
    assert lines == ["", None]


def test_ctrl_d_quits_only_without_a_line() -> None:
    assert press(b"\x04") == [KeyCommand("quit")]
    assert press(b"a\x04\r") == [TypedLine("a")]


def test_a_cursor_key_in_two_pieces() -> None:
    keys = KeyInput()
    assert keys.feed(b"\x1b[") == []
    assert keys.feed(b"1;5") == []
    assert keys.feed(b"Dq") == [KeyCommand("quit")]


def test_a_letter_in_two_pieces() -> None:
    assert press(b"\xc3", b"\xa9t\xc3\xa9\r") == [TypedLine("été")]


class TestPaste:
    def test_it_presses_nothing(self) -> None:
        keys = KeyInput()
        assert keys.feed(b"\x1b[200~quit\r\nbring it\x1b[201~") == []
        assert keys.line == "quit  bring it"
        assert keys.feed(b"!\r") == [TypedLine("quit  bring it!")]

    # Not at 1: an Escape at the end of what has arrived is the key.
    @pytest.mark.parametrize("cut", range(2, 18))
    def test_in_two_pieces(self, cut: int) -> None:
        data = b"\x1b[200~q r i\x1b[201~\r"
        assert press(data[:cut], data[cut:]) == [TypedLine("q r i")]


@given(st.lists(st.binary(max_size=12), max_size=20))
def test_nothing_breaks_it(pieces: list[bytes]) -> None:
    for done in press(*pieces):
        assert isinstance(done, KeyCommand) or done.text.strip()


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1), st.integers(0, 40))
def test_what_is_typed_is_what_is_sent(text: str, cut: int) -> None:
    data = b"/" + text.encode() + b"\r"
    assert press(data[:cut], data[cut:]) == [TypedLine(text)]
