"""Text chunker: tokens in, speakable chunks out. Pure: no clock, no I/O.

A voice sounds best with whole sentences, and starts soonest with the first few words. So the chunker is *pulled*: when
the voice is free, the caller asks :meth:`Chunker.take` for the next chunk and says whether little audio is buffered
(``low_buffer``). Then the first clause is given; otherwise the sentence is waited for. The sentence of a fast model has
arrived by then, and a slow model is spoken clause by clause without a gap.

The chunks put together are the text pushed, character by character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A stop behind one of these never ends a sentence: a name, a number or the rest of the thought follows.
_LEADING_ABBREVIATIONS = frozenset({
    "dr", "mr", "mrs", "ms", "prof", "st", "mt", "gen", "col", "sgt", "lt", "capt", "rev", "hon", "pres", "gov",
    "sen", "rep", "fr", "messrs", "fig", "vol", "pp", "approx", "vs", "cf", "viz", "e.g", "i.e", "jan", "feb", "mar",
    "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "mon", "tue", "tues", "wed", "thu", "thur",
    "thurs", "fri", "sat", "sun",
})  # fmt: skip
# A stop behind one of these ends a sentence only if a capital letter follows.
_CLOSING_ABBREVIATIONS = frozenset({
    "etc", "inc", "ltd", "co", "corp", "jr", "sr", "a.m", "p.m", "ft", "lb", "lbs", "oz", "dept", "est", "ave",
    "blvd", "rd", "al",
})  # fmt: skip
# A long run of words without punctuation is cut before one of these, where a speaker would breathe too.
_BREATH_WORDS = frozenset({
    "and", "or", "but", "so", "because", "since", "although", "though", "while", "when", "where", "which", "who",
    "that", "if", "as", "than", "then", "in", "on", "at", "by", "for", "from", "with", "without", "into", "through",
    "during", "before", "after", "between", "about", "under", "over", "to", "until", "unless",
})  # fmt: skip
_CLOSERS = "\"'\u201d\u2019)]}*_"
_STOPS = ".!?\u2026\u3002\uff01\uff1f\u061f\u0964"
_SPACELESS = "\u3002\uff01\uff1f\uff0c\u3001\uff1b\uff1a"
"""East Asian marks, which end a clause with no space behind them."""
_CLAUSE_MARKS = ",;:\u2014\u2013\uff0c\u3001\uff1b\uff1a"
_MARK = re.compile(f"[{re.escape(_STOPS + _CLAUSE_MARKS)}\\n]")
_WORD = re.compile(r"\S+")
_LAST_TOKEN = re.compile(r"\S+\Z")
_PLAIN_WORD = re.compile(r"(?:\A|(?<=\s))[^\W\d_]+(?:['\u2019-][^\W\d_]+)*\Z")
_ENUMERATOR = re.compile(r"(?:\A|\n)[ \t]*(?:[*_]{1,2})?\d{1,3}\Z")
_OPEN_LINK = re.compile(r"\[[^\[\]\n]*(?:\]\([^()\s]*)?\Z")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the text to be spoken in one go."""

    text: str
    joined: bool = False
    """Cut in mid-phrase: the next chunk goes on without the pause that the end of a clause has."""


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """When text without punctuation is cut. Words are runs of non-space characters."""

    breath_words: int = 7
    """With a low buffer, more words than this are cut before a word of ``_BREATH_WORDS``."""
    breath_min_words: int = 4
    """The least words before such a cut."""
    low_buffer_words: int = 12
    """With a low buffer, more words than this are cut anywhere."""
    max_chars: int = 220
    """A longer sentence is spoken in several chunks: the text encoder works on a whole chunk (~0.6 ms a character), and
    gives no audio before it has finished."""


FEW = ChunkLimits(breath_words=3, breath_min_words=3, low_buffer_words=4)
"""For a reply that is late: three or four words, if their audio lasts until that of the next ones is there."""


class Chunker:
    """Collects text as it streams in and gives it out in speakable chunks.

    >>> chunker = Chunker()
    >>> chunker.push("Sure, it is 3.5 miles. Dr. Smith kn")
    >>> chunker.take(low_buffer=True)
    Chunk(text='Sure, ', joined=False)
    >>> chunker.take()
    Chunk(text='it is 3.5 miles. ', joined=False)
    >>> chunker.take()
    >>> chunker.close()
    >>> chunker.take()
    Chunk(text='Dr. Smith kn', joined=False)
    """

    def __init__(self, limits: ChunkLimits | None = None) -> None:
        self._limits = limits or ChunkLimits()
        self._buffer = ""
        self._closed = False
        self._first = True
        self._at_line_start = True

    def push(self, text: str) -> None:
        """Add text. Raises ValueError after :meth:`close`."""
        if self._closed:
            raise ValueError("the text was closed: use a new Chunker for the next reply")
        self._buffer += text

    def close(self) -> None:
        """No more text comes: what is left may be taken."""
        self._closed = True

    @property
    def exhausted(self) -> bool:
        """Closed, and everything taken."""
        return self._closed and not self._buffer

    @property
    def closed(self) -> bool:
        """No more text comes."""
        return self._closed

    @property
    def pending_chars(self) -> int:
        """Characters pushed and not yet taken."""
        return len(self._buffer)

    @property
    def pending_words(self) -> int:
        """Words pushed and not yet taken; the last may be incomplete."""
        return len(self._buffer.split())

    @property
    def at_start(self) -> bool:
        """Nothing that is spoken has been given out yet."""
        return self._first

    def take(self, *, low_buffer: bool = False, few: bool = False) -> Chunk | None:
        """The next chunk, or None if it should not be spoken yet (or nothing is left).

        ``low_buffer``: little audio is buffered, so the first clause is given; so too for the first chunk of a reply.
        ``few``: the reply is late, so three or four words (:data:`FEW`) are enough at its start.
        """
        usual = self._limits
        if few and low_buffer and self._first:
            self._limits = FEW
        try:
            end, joined = self._end(low_buffer=low_buffer, ending=self._closed)
        finally:
            self._limits = usual
        if end <= 0:
            return None
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        self._first = self._first and not text.strip()
        if text.strip() or "\n" in text:
            self._at_line_start = text.rstrip(" \t").endswith("\n")
        return Chunk(text, joined)

    def _end(self, *, low_buffer: bool, ending: bool) -> tuple[int, bool]:
        """(where the next chunk ends, 0 if nowhere yet; whether that is in mid-phrase)."""
        buffer, limits = self._buffer, self._limits
        if not buffer.strip():
            return (len(buffer) if ending else 0), False
        last_clause = 0
        for end, is_sentence in self._boundaries(low_buffer=low_buffer, ending=ending):
            if end > limits.max_chars and not buffer[:end].count("```"):
                break
            if is_sentence or (low_buffer and self._worth_speaking(buffer[:end])):
                before = self._breath(end) if low_buffer else 0
                return (before, True) if before else (end, False)
            last_clause = end
        else:
            if ending and len(buffer) <= limits.max_chars:
                return len(buffer), False
        if low_buffer and (before := self._breath(len(buffer))):
            return before, True
        if len(buffer) > limits.max_chars:
            if last_clause:
                return last_clause, False
            if (fence := buffer.find("```", 0, limits.max_chars)) >= 0:
                # Code is not spoken, so it may be long, but it must stay whole to be known as code.
                return fence or (len(buffer) if ending else 0), fence > 0
            return (buffer.rfind(" ", 1, limits.max_chars) + 1) or limits.max_chars, True
        return 0, False

    def _worth_speaking(self, text: str) -> bool:
        if self._first:
            return sum(map(str.isalnum, text)) >= 3
        return len(text.split()) >= 3

    def _breath(self, end: int) -> int:
        """Where to cut a long run of words that ends at ``end``; 0 if it is short enough to be spoken as it is.

        Only words with space behind them count: the last one may still grow.
        """
        limits, words = self._limits, list(_WORD.finditer(self._buffer, 0, end))
        if words and words[-1].end() == len(self._buffer):
            words.pop()
        if len(words) <= limits.breath_words or not _whole(self._buffer[:end]):
            return 0
        cuts = [n for n in range(1, min(len(words), limits.low_buffer_words + 1)) if not _binds(words[n - 1].group())]
        for n in cuts:
            if limits.breath_min_words <= n < limits.low_buffer_words and words[n].group().lower() in _BREATH_WORDS:
                return words[n].start()
        return words[cuts[-1]].start() if cuts and len(words) > limits.low_buffer_words else 0

    def _boundaries(self, *, low_buffer: bool, ending: bool) -> Iterator[tuple[int, bool]]:
        """(end, whether a sentence ends there) of each clause in the buffer that is known to be over."""
        last = 0
        for mark in _MARK.finditer(self._buffer):
            at = mark.start()
            if at < last:
                continue
            if (end := self._boundary(at, low_buffer=low_buffer, ending=ending)) and _whole(self._buffer[:end]):
                last = end
                yield end, mark.group() in _STOPS or "\n" in self._buffer[at:end]

    def _boundary(self, at: int, *, low_buffer: bool, ending: bool) -> int:
        """The end, with the space behind it, of the clause that the mark at ``at`` closes; 0 if it closes none."""
        buffer, mark = self._buffer, self._buffer[at]
        if mark == "\n":
            return _skip(buffer, at, " \t\r\n") if buffer[:at].strip() else 0
        end = at + 1
        while end < len(buffer) and buffer[end] in _STOPS + _CLOSERS:
            end += 1
        if end == len(buffer):
            if ending:
                return end
            # Not waiting for the space saves a token. Behind anything but a plain word ("1,000", an address) wait.
            return end if low_buffer and mark in ",;" and _PLAIN_WORD.search(buffer, 0, at) else 0
        if not buffer[end].isspace() and mark not in _SPACELESS and mark not in "\u2014":
            return 0
        after = _skip(buffer, end, " \t\r\n")
        if mark == "." and not self._stop_ends(at, after, ending=ending):
            return 0
        return after

    def _stop_ends(self, at: int, after: int, *, ending: bool) -> bool:
        buffer = self._buffer
        before = buffer[:at]
        if _ENUMERATOR.search(before) and (self._at_line_start or "\n" in before):
            return False
        token = _LAST_TOKEN.search(before)
        word = token.group().lower().lstrip("(\"'\u201c[*_") if token else ""
        if word in _LEADING_ABBREVIATIONS:
            return False
        follower = buffer[after : after + 1]
        if word == "no":
            return follower != "" and not follower.isdigit()
        initial = len(word) == 1 and word.isalpha() and word != "i"
        if word in _CLOSING_ABBREVIATIONS or initial or re.fullmatch(r"(?:\w\.)+\w", word):
            # "at 5 p.m. We" ends, "at 5 p.m. on Monday" and "J. Smith" do not. An initial looks like the former.
            return ending and not follower if not follower else follower.isupper() and not initial
        return True


def _binds(word: str) -> bool:
    """Whether the next word belongs to this one: "Dr. Smith", "e.g. this"."""
    return word.endswith(".") and word.strip("(\"'.").lower() in _LEADING_ABBREVIATIONS


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _fence_open(text: str) -> bool:
    return text.count("```") % 2 == 1


def _whole(text: str) -> bool:
    """Whether no code and no link of Markdown is cut in two at the end of ``text``."""
    if _fence_open(text):
        return False
    line = text.rstrip("\n").rpartition("\n")[2]
    return line.replace("```", "").count("`") % 2 == 0 and not _OPEN_LINK.search(text.rstrip())
