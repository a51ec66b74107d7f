"""Replacement rules: regular expressions that are applied to a text in order."""

from __future__ import annotations

import re
from collections.abc import Callable

Replacement = str | Callable[[re.Match[str]], str]
Rules = tuple[tuple[re.Pattern[str], Replacement], ...]


def compiled(*rules: tuple[str, Replacement], flags: int = 0) -> Rules:
    """``rules``: (regular expression, replacement as for ``re.sub``)."""
    return tuple((re.compile(pattern, flags), replacement) for pattern, replacement in rules)


def apply(rules: Rules, text: str) -> str:
    """``text`` after every rule has replaced its matches."""
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text
