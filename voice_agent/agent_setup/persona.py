"""A persona file: the agent's instructions and settings in one Markdown file.

::

    ---
    name: Ada
    voice: en_US-joe-medium
    greeting: Hello, this is Ada at the library.
    tools: [library_tools.py]
    ---
    You answer questions about the town library: opening hours, lost cards, reading groups.

The text is the instructions. The settings above it are optional: YAML between ``---`` lines, TOML between ``+++``
lines. Paths of tools are relative to the file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

_FENCES = {"---": "YAML", "+++": "TOML"}
_TEXTS = ("name", "voice", "greeting", "apology", "language", "model")
_LISTS = ("tools", "mcp")


@dataclass(frozen=True, slots=True)
class Persona:
    """The file's values; None or empty where it has none. ``tools``: absolute paths; ``mcp``: as for ``--mcp``."""

    instructions: str = ""
    name: str | None = None
    voice: str | None = None
    greeting: str | None = None
    apology: str | None = None
    language: str | None = None
    model: str | None = None
    tools: tuple[Path, ...] = ()
    mcp: tuple[str, ...] = ()


def read_persona(path: Path) -> Persona:
    """Read and check a persona file (UTF-8). Raises ConfigError that names the file and the key or line."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; --persona takes a Markdown file (docs/agent.md)") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; a persona is a Markdown file (docs/agent.md)") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    head, body = _split(text, path)
    known = (*_TEXTS, *_LISTS)
    for key in head:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise ConfigError(f"{path}: unknown key {key!r}; {hint}")
    if not body.strip() and not head:
        raise ConfigError(f"{path}: is empty; write below the settings what the agent is to do")
    texts = {key: _text(head[key], key, path) for key in _TEXTS if key in head}
    lists = {key: _list(head[key], key, path) for key in _LISTS if key in head}
    tools = tuple((path.parent / tool).absolute() for tool in lists.get("tools", ()))
    for tool in tools:
        if not tool.is_file():
            raise ConfigError(f"{path}: tools: {tool} does not exist; paths are relative to the persona's folder")
    return Persona(instructions=body.strip(), tools=tools, mcp=lists.get("mcp", ()), **texts)


def _split(text: str, path: Path) -> tuple[Mapping[str, Any], str]:
    """The settings at the top, and the text below them."""
    lines = text.splitlines()
    fence = lines[0].strip() if lines else ""
    if fence not in _FENCES:
        return {}, text
    end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() == fence), None)
    if end is None:
        raise ConfigError(f"{path}: the settings that begin with {fence} on line 1 have no closing {fence}")
    raw, body = "\n".join(lines[1:end]), "\n".join(lines[end + 1 :])
    try:
        head = yaml.safe_load(raw) if fence == "---" else tomllib.loads(raw)
    except (yaml.YAMLError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not valid {_FENCES[fence]}: {_where(error)}") from None
    if head is None:
        return {}, body
    if not isinstance(head, Mapping):
        raise ConfigError(f"{path}: the settings are no table; write 'key: value' lines, such as 'name: Ada'")
    return head, body


def _where(error: Exception) -> str:
    """The reason on one line; YAML counts from 0 and from below the fence."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 2}: {getattr(error, 'problem', None) or 'cannot be read'}"
    return " ".join(str(error).split())


def _text(value: object, key: str, path: Path) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {key}: {value!r} is not text; put it in quotes")
    return value.strip()


def _list(value: object, key: str, path: Path) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
        raise ConfigError(f"{path}: {key}: {value!r} is not a list of texts; write for example {key}: [first, second]")
    return tuple(items)
