"""``-k``: which scripts run. Words match parts of names, joined with ``and``, ``or``, ``not`` and brackets. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import UsageError
from .script_file import Script

_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")


def select(scripts: Sequence[Script], expression: str | None) -> list[Script]:
    """The scripts whose name matches. Raises UsageError for an invalid expression, or one that matches none."""
    if expression is None:
        return list(scripts)
    found = [script for script in scripts if matches(expression, script.scenario.name)]
    if not found:
        names = ", ".join(script.scenario.name for script in scripts)
        raise UsageError(f"-k {expression!r} fits none of: {names}")
    return found


def matches(expression: str, name: str) -> bool:
    """Whether ``name`` fits; upper and lower case are the same."""
    tokens = _TOKEN.findall(expression.lower())
    value, rest = _or(tokens, name.lower(), expression)
    if rest:
        raise _wrong(expression)
    return value


def _or(tokens: list[str], name: str, whole: str) -> tuple[bool, list[str]]:
    value, rest = _and(tokens, name, whole)
    while rest and rest[0] == "or":
        other, rest = _and(rest[1:], name, whole)
        value = value or other
    return value, rest


def _and(tokens: list[str], name: str, whole: str) -> tuple[bool, list[str]]:
    value, rest = _one(tokens, name, whole)
    while rest and rest[0] == "and":
        other, rest = _one(rest[1:], name, whole)
        value = value and other
    return value, rest


def _one(tokens: list[str], name: str, whole: str) -> tuple[bool, list[str]]:
    if not tokens or tokens[0] in ("and", "or", ")"):
        raise _wrong(whole)
    if tokens[0] == "not":
        value, rest = _one(tokens[1:], name, whole)
        return not value, rest
    if tokens[0] == "(":
        value, rest = _or(tokens[1:], name, whole)
        if not rest or rest[0] != ")":
            raise _wrong(whole)
        return value, rest[1:]
    return tokens[0] in name, tokens[1:]


def _wrong(expression: str) -> UsageError:
    return UsageError(
        f"-k {expression!r}: write parts of names with and, or, not, such as 'echo or (noise and not slow)'"
    )
