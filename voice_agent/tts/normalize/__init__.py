"""Text normalization: written text -> what a person would say. Pure.

espeak-ng turns text into sounds for Piper in about a hundred languages. Markdown, emoji and control characters are
removed in every language (:mod:`.markup`); numbers and abbreviations are rewritten for English voices
(:mod:`.english`). num2words was not taken: it knows fewer languages than espeak, and no currencies in context.
"""

from __future__ import annotations

import unicodedata

from .english import read_out
from .markup import strip_markup
from .rules import apply, compiled

_TIDY = compiled(
    (r"(?<=[^\s.,;:!?\u2026\u3002\uff01\uff1f])([)\"'\u201d\u2019]*)[ \t]*\n\s*(?=\S)", r"\1. "),
    (r"\s*\n\s*", " "),
    (r"[\[\]{}|\\^<>]", " "),
    (r"\s+([.,;:!?])", r"\1"),
    (r"([,;:])(?:[,;:.])+", r"\1"),
    (r"(?<!\.)\.{2}(?!\.)", "."),
    (r"\A[\s.,;:!?\u2026)\u2014-]+(?=\s|\w)", ""),
    (r"\s{2,}", " "),
)  # fmt: skip


def speakable(text: str, language: str = "en-us") -> str:
    """``text`` as a voice of ``language`` (an espeak name: "en-us", "de") can say it.

    The result has no Markdown, emoji, control characters or line breaks. It is "" if nothing can be said.
    """
    language = language.lower()
    english = language.startswith("en")
    text = strip_markup(_clean(text), english=english)
    if english:
        text = read_out(text, day_first=language.startswith("en-gb"))
    text = "".join(" " if _is_pictograph(c) else c for c in text)
    text = apply(_TIDY, text)
    return text.strip() if any(map(str.isalnum, text)) else ""


def _clean(text: str) -> str:
    """Without control characters, surrogates and invisible marks, which espeak's bridge refuses or spells out."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return "".join(c for c in text if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))


def _is_pictograph(c: str) -> bool:
    # So and Sk hold emoji, dingbats, arrows of the decorative kind and skin tones; the degree sign is among them too.
    return c != "\u00b0" and (unicodedata.category(c) in ("So", "Sk") or c in "\ufe0f\ufe0e\u20e3\u200d")
