from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from voice_agent.tts.trim import SilenceTrimmer

RATE = 1000  # so that samples are milliseconds


def wave(*runs: tuple[int, int]) -> NDArray[np.int16]:
    """(samples, level) one after the other."""
    return np.concatenate([np.full(n, level, np.int16) for n, level in runs])


def through(trimmer: SilenceTrimmer, samples: NDArray[np.int16], size: int) -> NDArray[np.int16]:
    """What comes out if ``samples`` go in by ``size``."""
    starts = range(0, max(len(samples), 1), size)
    return np.concatenate([trimmer.push(samples[at : at + size], last=at == starts[-1]) for at in starts])


def test_a_reply_starts_5_ms_before_it_is_heard() -> None:
    samples = wave((60, 100), (40, -5000), (50, 0), (10, 5000), (30, 0))
    for size in (1, 7, 1000):
        got = through(SilenceTrimmer(RATE, starts_reply=True), samples, size)
        assert np.array_equal(got, samples[55:]), size


def test_between_sentences_every_sample_stays() -> None:
    samples = wave((60, 100), (40, 5000), (90, 0))
    assert np.array_equal(through(SilenceTrimmer(RATE), samples, 13), samples)


def test_a_phrase_cut_in_two_is_joined() -> None:
    samples = wave((60, 0), (40, 5000), (70, 0), (40, -5000), (200, 0))
    before = through(SilenceTrimmer(RATE, joins_next=True), samples, 1000)
    assert np.array_equal(before, samples[: 60 + 40 + 70 + 40 + 30])
    behind = through(SilenceTrimmer(RATE, joins_previous=True), samples, 17)
    assert np.array_equal(behind, samples[40:])


def test_silence_inside_a_phrase_is_not_held_back() -> None:
    trimmer = SilenceTrimmer(RATE, joins_next=True)
    assert trimmer.push(wave((40, 5000), (70, 0))).size == 110
    assert trimmer.push(wave((40, 5000), (200, 0)), last=True).size == 70


def test_silence_alone_is_nothing_at_the_start() -> None:
    assert through(SilenceTrimmer(RATE, starts_reply=True), wave((500, 10)), 20).size == 0


def test_the_lowest_sample_is_loud() -> None:
    assert through(SilenceTrimmer(RATE, starts_reply=True), wave((9, 0), (1, -32768)), 1000).size == 6


@given(st.lists(st.integers(-32768, 32767), max_size=300), st.integers(1, 50), st.booleans(), st.booleans())
def test_only_the_edges_are_cut(values: list[int], size: int, starts: bool, joins_next: bool) -> None:
    samples = np.array(values, np.int16)
    got = through(SilenceTrimmer(RATE, starts_reply=starts, joins_next=joins_next), samples, size)
    audible = np.flatnonzero(np.abs(samples.astype(int)) > 300)
    if not audible.size:
        assert got.size <= samples.size
        return
    kept = samples[audible[0] : audible[-1] + 1]
    at = int(np.flatnonzero(np.abs(got.astype(int)) > 300)[0])
    assert np.array_equal(got[at : at + kept.size], kept)
