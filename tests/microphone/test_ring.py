from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.microphone.ring import Ring

Int16 = npt.NDArray[np.int16]


def count_from(start: int, n: int) -> Int16:
    return (np.arange(start, start + n) % 30_000).astype(np.int16)


@given(
    st.integers(2, 40),
    st.integers(0, 1000),
    st.lists(st.tuples(st.sampled_from(["write", "read", "skip", "back"]), st.integers(0, 60)), max_size=60),
    st.data(),
)
def test_what_goes_in_comes_out_once_and_in_order(
    capacity: int, start: int, steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Against a plain list of all that was written; positions tell where each side is."""
    keep = data.draw(st.integers(0, capacity - 1))
    ring = Ring(capacity, keep=keep, start=start)
    model: list[int] = []  # sample number i was written at position start + i
    for what, n in steps:
        before = ring.read
        if what == "write":
            pcm = count_from(len(model), n)
            free = ring.free
            kept = ring.write(pcm)
            assert kept == min(n, max(0, free))
            model += pcm[:kept].tolist()
        elif what == "read":
            out = np.full(n, -1, np.int16)
            got = ring.read_into(out)
            assert got == min(n, start + len(model) - before)
            assert out[:got].tolist() == model[before - start : before - start + got]
            assert (out[got:] == -1).all()
        elif what == "skip":
            ring.skip_to(before + n)
            assert ring.read == min(before + n, start + len(model))
        else:
            at = ring.rewind(before - n)
            assert before - min(n, keep) <= at <= before or at >= start + len(model) - capacity
        assert ring.written == start + len(model)
        assert start <= ring.read <= ring.written
        assert ring.available <= capacity
    rest = ring.take(10_000)
    assert rest.tolist() == model[len(model) - len(rest) :]
    assert ring.available == 0


def test_what_is_kept_can_be_read_again() -> None:
    ring = Ring(100, keep=30)
    assert ring.write(count_from(0, 200)) == 70
    ring.take(50)
    assert ring.write(count_from(70, 200)) == 50
    assert ring.rewind(20) == 20
    assert ring.take(200).tolist() == list(range(20, 120))


def test_a_ring_that_could_hold_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot keep"):
        Ring(10, keep=10)


def test_two_threads() -> None:
    ring, total, heard = Ring(997), 300_000, list[Int16]()
    sent = count_from(0, total)

    def write() -> None:
        at = 0
        while at < total:
            at += ring.write(sent[at : at + 333])

    writer = threading.Thread(target=write)
    writer.start()
    while sum(map(len, heard)) < total and (writer.is_alive() or ring.available):
        heard.append(ring.take(480))
    writer.join()
    assert (np.concatenate(heard) == sent).all()
