"""Sound that carries its own words: the input of a doubled STT, and the output of a doubled TTS.

:func:`spoken` makes a buzz with the rhythm of a text, and writes the text into the lowest bits of its samples, where it
is not audible. :func:`words_in` reads it back from any part of these samples. So a double hears exactly the samples it
is given: a word that a buffer lost is missing in the text, and the real turn code, buffers, pre-rolls and interruptions
are tested without a model. Only sample-exact paths keep the text: no resampling, no codec, no gain.

A sample carries one bit: it lies at 4 or at 12 of each 16 steps, so that dither and a faint sound do no
harm. The bits form frames of 64: sync 16, number of the word 8, index 8, payload 16, check 16. Index 0 carries how
many frames the word has, the others two bytes of UTF-8 each, over and over until the word ends.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int16 = npt.NDArray[np.int16]

RATE = 16_000
FRAME = 64
SYNC = 0xB5E3
ENOUGH = 0.5  # the share of a word's frames without which the word is not heard
LETTER_S, WORD_S = 0.055, 0.11  # a word lasts WORD_S, and LETTER_S for each letter: 160 words a minute
_SYNC_BITS = np.array([SYNC >> (15 - i) & 1 for i in range(16)], np.uint8)


@dataclass(frozen=True, slots=True)
class Spoken:
    """``pcm``: mono int16. ``end_s``: end of the last word. ``text``: the words in it."""

    pcm: Int16
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word found in samples: its first and last + 1 sample there, and how much of it (0 to 1)."""

    text: str
    start: int
    stop: int
    share: float


def spoken(*parts: str | float, rate: int = RATE) -> Spoken:
    """Texts, and seconds of silence between them: ``spoken("To mute yourself", 0.8, "press star six.")``.

    ValueError for no word at all, or a word longer than 400 bytes.
    """
    pieces: list[Int16] = []
    said: list[str] = []
    end = 0
    for part in parts:
        if isinstance(part, int | float):
            pieces.append(np.zeros(round(part * rate), np.int16))
            continue
        for word in part.split():
            pieces.append(_word(word, len(said), rate))
            said.append(word)
        end = sum(len(p) for p in pieces)
    if not said:
        raise ValueError("nothing is said: give at least one word")
    return Spoken(np.concatenate(pieces), end / rate, " ".join(said))


def word_s(word: str) -> float:
    """How long a word lasts, in seconds."""
    return WORD_S + LETTER_S * len(re.sub(r"\W", "", word))


@functools.lru_cache(4096)
def _word(word: str, number: int, rate: int) -> Int16:
    frames = max(2, round(word_s(word) * rate / FRAME))
    data = word.encode()
    if len(data) > 400:
        raise ValueError(f"{word[:20]!r}... is no word: it has {len(data)} bytes")
    data += b"\0" * (len(data) % 2)
    payloads = [frames, *(data[i] << 8 | data[i + 1] for i in range(0, len(data), 2))]
    frames = payloads[0] = max(frames, len(payloads))
    index = np.arange(frames) % len(payloads)
    payload = np.array(payloads, np.uint32)[index]
    ordinal = np.full(frames, number % 256, np.uint32)
    words = np.stack([np.full(frames, SYNC), ordinal << 8 | index, payload, _check(ordinal, index, payload)], axis=1)
    bits = ((words[:, :, None].astype(np.uint32) >> np.arange(15, -1, -1)) & 1).reshape(-1)
    n = len(bits)
    t = np.arange(n) / rate
    envelope = np.minimum(1.0, np.minimum(np.arange(n) + 1, np.arange(n, 0, -1)) / (0.02 * rate))
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in (1, 2, 3, 4)) * envelope * 4000 + 400
    out = (buzz.astype(np.int16) & ~15) + np.where(bits, 12, 4).astype(np.int16)
    out.flags.writeable = False  # it is cached
    return out


def _check(
    ordinal: npt.NDArray[np.integer], index: npt.NDArray[np.integer], payload: npt.NDArray[np.integer]
) -> npt.NDArray[np.uint32]:
    mixed = ordinal.astype(np.uint64) * 40_503 + index.astype(np.uint64) * 9_973 + payload.astype(np.uint64) * 25_717
    return ((mixed ^ (mixed >> np.uint64(7))) + np.uint64(0x2D5A) & np.uint64(0xFFFF)).astype(np.uint32)


def _frames(pcm: Int16) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Where whole frames begin in ``pcm``, and their four 16-bit words each."""
    bits = ((pcm & 15) >= 8).astype(np.uint8)
    at: list[npt.NDArray[np.int64]] = []
    position = 0
    while position + FRAME <= len(bits):
        stretch = bits[position : position + 4096 + 15]
        if not stretch.any():
            position += 4096
            continue
        hits = np.flatnonzero((np.lib.stride_tricks.sliding_window_view(stretch, 16) == _SYNC_BITS).all(axis=1))
        first = next((position + int(h) for h in hits if _valid(bits, position + int(h))), None)
        if first is None:
            position += 4096
            continue
        grid = np.arange(first, len(bits) - FRAME + 1, FRAME)
        rows = _words(bits[first : first + len(grid) * FRAME].reshape(-1, FRAME))
        good = _good(rows)
        # on the same grid as far as it carries; the next stretch of speech may lie on another one
        broken = np.flatnonzero(~good)
        stop = int(broken[0]) if len(broken) else len(grid)
        at.append(grid[:stop])
        position = first + stop * FRAME
    starts = np.concatenate(at) if at else np.zeros(0, np.int64)
    if not len(starts):
        return starts, np.zeros((0, 4), np.uint32)
    return starts, _words(np.stack([bits[s : s + FRAME] for s in starts]))


def _words(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    return np.packbits(rows, axis=1).reshape(len(rows), 4, 2).astype(np.uint32) @ np.array([256, 1], np.uint32)


def _good(rows: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    check = _check(rows[:, 1] >> 8, rows[:, 1] & 255, rows[:, 2])
    good: npt.NDArray[np.bool_] = (rows[:, 0] == SYNC) & (rows[:, 3] == check)
    return good


def _valid(bits: npt.NDArray[np.uint8], at: int) -> bool:
    return at + FRAME <= len(bits) and bool(_good(_words(bits[at : at + FRAME].reshape(1, FRAME)))[0])


def words_in(pcm: Int16, enough: float = ENOUGH) -> list[HeardWord]:
    """The words in ``pcm`` of which at least a share of ``enough`` is there, in order."""
    starts, rows = _frames(pcm)
    found: list[HeardWord] = []
    begin = 0
    for i in range(1, len(starts) + 1):
        if i < len(starts) and rows[i, 1] >> 8 == rows[begin, 1] >> 8 and starts[i] - starts[i - 1] == FRAME:
            continue
        word = _read(rows[begin:i])
        if word is not None and word[1] >= enough:
            found.append(HeardWord(word[0], int(starts[begin]), int(starts[i - 1]) + FRAME, word[1]))
        begin = i
    return found


def _read(rows: npt.NDArray[np.uint32]) -> tuple[str, float] | None:
    """The word of neighbouring frames and the share of it that is there; None if a piece of its text is missing."""
    pieces = dict(zip((rows[:, 1] & 255).tolist(), rows[:, 2].tolist(), strict=True))
    if 0 not in pieces or any(i not in pieces for i in range(max(pieces) + 1)):
        return None
    data = b"".join(int(pieces[i]).to_bytes(2, "big") for i in range(1, max(pieces) + 1))
    return data.rstrip(b"\0").decode(errors="replace"), len(rows) / pieces[0]


def text_in(pcm: Int16) -> str:
    """The words in ``pcm`` as a text."""
    return " ".join(w.text for w in words_in(pcm))


def voiced_share(pcm: Int16) -> float:
    """The share of ``pcm`` that is speech of :func:`spoken`, 0 to 1; pieces of a frame at its ends do not count."""
    starts, _ = _frames(pcm)
    return len(starts) * FRAME / max(1, len(pcm) // FRAME * FRAME) if len(pcm) else 0.0


def samples(frames: Sequence[Int16]) -> Int16:
    """Stretches of samples as one."""
    return np.concatenate([np.zeros(0, np.int16), *frames])
