from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.onnx_tools import wire


@given(st.lists(st.tuples(st.integers(1, 2000), st.binary(max_size=300)), max_size=20))
def test_delimited_fields_are_read_as_written(messages: list[tuple[int, bytes]]) -> None:
    body = b"".join(wire.delimited(number, content) for number, content in messages)
    read = list(wire.fields(memoryview(body)))
    assert [(number, bytes(content)) for number, _, content in read] == messages
    assert b"".join(bytes(whole) for _, whole, _ in read) == body


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_numbers_are_read_as_written(numbers: list[int]) -> None:
    assert list(wire.varints(memoryview(b"".join(map(wire.encode, numbers))))) == numbers


def test_a_negative_number_is_an_int64() -> None:
    assert list(wire.varints(memoryview(wire.encode(-1)))) == [2**64 - 1]
    assert len(wire.encode(-1)) == 10


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05abc", b"\x0d\x00", b"\x0b"])
def test_what_is_cut_short_or_no_field_is_an_error(body: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        list(wire.fields(memoryview(body)))
