"""Markdown, HTML, code, web and e-mail addresses -> text that can be read out."""

from __future__ import annotations

import re
from urllib.parse import unquote

from .rules import apply, compiled

_URL = re.compile(r"(?:https?://|(?<![\w@.])www\.)(?P<address>[^\s<>\[\]`\"]+)", re.IGNORECASE)
_CODE = re.compile(r"```[^\n`]*\n.*?(?:```|\Z)|```[^\n`]*(?:```|\Z)", re.DOTALL)
_EMAIL = re.compile(r"(?<![\w.])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_MARKUP = compiled(
    (r"!\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)", r"\1"),
    (r"\[([^\]]+)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)", r"\1"),
    (r"<(?=https?://|\S+@)([^<>\s]+)>", r"\1"),
    (r"<!--.*?-->|</?[a-zA-Z][^<>]*>", " "),
    (r"^[ \t]{0,3}(?:[-*_][ \t]*){3,}$", ""),
    (r"^[ \t]*\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-{2,}:?[ \t]*)*\|?[ \t]*$", ""),
    (r"^[ \t]*\|(.*?)\|?[ \t]*$", lambda m: ", ".join(c.strip() for c in m[1].split("|") if c.strip()) + "."),
    (r"^[ \t]*#{1,6}[ \t]+(.*?)[ \t#]*$", r"\1"),
    (r"^[ \t]*(?:>[ \t]?)+", ""),
    (r"^[ \t]*[-*+\u2022][ \t]+(?:\[[ xX]\][ \t]+)?", ""),
    (r"^[ \t]*([*_]{0,2})(\d{1,3})[.)][ \t]+", r"\1\2: "),
    (r"~~(?=\S)(.+?)(?<=\S)~~", r"\1"),
    (r"(?<!\w)([*_]{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2"),
    (r"(?<!\w)([*_]{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2"),
    # one half of a pair whose other half is in another chunk
    (r"(?<![\w*])\*{1,3}(?=\w)|(?<=[\w.,;:!?)])\*{1,3}(?![\w*])|(?<!\w)_{1,3}(?=\w)|(?<=\w)_{1,3}(?!\w)", ""),
    (r"`+", ""),
    (r"\\([\\`*_{}\[\]()#+.!-])", r"\1"),
    flags=re.MULTILINE | re.DOTALL,
)  # fmt: skip


def strip_markup(text: str, *, english: bool) -> str:
    """``text`` without markup. ``english``: addresses are read out in English words ("dot", "slash", "at")."""
    text = _CODE.sub(" Code left out. " if english else " ", text)
    text = apply(_MARKUP, text)
    text = _URL.sub(lambda m: _say_address(m, english=english), text)
    if english:
        text = _EMAIL.sub(_say_email, text)
    return text


def _say_address(match: re.Match[str], *, english: bool) -> str:
    """Host and a short path, as people say them on the phone; a query or a long path cannot be remembered."""
    address = match["address"]
    tail = address[len(address.rstrip(".,;:!?)'\"")) :]
    host, _, path = address[: len(address) - len(tail)].partition("/")
    path = unquote(path).rstrip("/")
    parts = [host.removeprefix("www.")]
    if 0 < len(path) <= 20 and not re.search(r"[?#=&]", path):
        parts += path.split("/")
    if not english:
        return "/".join(parts) + tail
    return _dots(" slash ".join(parts)) + tail


def _say_email(match: re.Match[str]) -> str:
    return _dots(match.group().replace("@", " at "))


def _dots(text: str) -> str:
    return text.replace(".", " dot ").replace("_", " underscore ").replace("-", " dash ")
