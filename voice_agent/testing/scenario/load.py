"""Read scripts. A mistake is answered with the file, the line, and what is allowed there.

Numbers are plain decimal only (YAML 1.1 would read the keys ``012`` as octal 10), and ``say: no`` says "no".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ...errors import ConfigError, UsageError
from .schema import Scenario

SUFFIX = ".voice.yaml"

Where = dict[tuple[str | int, ...], int]


class _Loader(yaml.SafeLoader):
    """SafeLoader with decimal integers only, and with no truth but true and false: people say yes, no, on and off."""


_OURS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:bool")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, rx) for tag, rx in resolvers if tag not in _OURS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))


@dataclass(frozen=True, slots=True)
class Script:
    """A scenario and the place it was read from. ``lines``: the line of each turn, counted from 1."""

    scenario: Scenario
    path: Path
    lines: tuple[int, ...]

    @property
    def folder(self) -> Path:
        """What paths in it are relative to."""
        return self.path.parent


def parse(text: str, path: Path) -> Script:
    """One script from its text. Raises ConfigError: ``FILE:LINE: what; what is allowed``."""
    data, where = read_yaml(text, path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1: a script is a mapping with name: and turns:; docs/scenarios.md has examples")
    if "scenarios" in data or _looks_like_pipecat(data):
        from .pipecat import convert

        data, where = convert(data, where, path)
    if "name" not in data:
        data = {"name": path.name.removesuffix(SUFFIX).removesuffix(".yaml"), **data}
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, where, path))) from None
    lines = tuple(_line(where, ("turns", index)) for index in range(len(scenario.turns)))
    return Script(scenario, path, lines)


def load(path: Path) -> Script:
    """One script from its file. Raises UsageError if it cannot be read, ConfigError if it cannot be understood."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; name a script (*{SUFFIX}) or a folder of them") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None
    return parse(text, path)


def collect(paths: Iterable[Path]) -> list[Script]:
    """All scripts named, and those in folders named (``*.voice.yaml``, also below). Names must be unique."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(path.rglob(f"*{SUFFIX}"))
            if not found:
                raise UsageError(f"{path}: no *{SUFFIX} file in this folder")
            files += found
        else:
            files.append(path)
    scripts = [load(path) for path in dict.fromkeys(files)]
    first: dict[str, Path] = {}
    for script in scripts:
        other = first.setdefault(script.scenario.name, script.path)
        if other is not script.path:
            raise ConfigError(f"{script.path}: {script.scenario.name!r} is already the name of {other}; choose another")
    return scripts


def read_yaml(text: str, path: Path) -> tuple[Any, Where]:
    """The data, and the line (from 1) of every key and list entry in it."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        where: Where = {}
        data = None if node is None else _build(loader, node, (), where, path)
        return data, where
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}:1: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{path}:1: nested too deeply, or an alias that contains itself") from None
    finally:
        loader.dispose()


def _build(loader: _Loader, node: yaml.Node, at: tuple[str | int, ...], where: Where, path: Path) -> Any:
    where.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise ConfigError(f"{path}:{line}: the key {key!r} is not a word; put it in quotes")
            if key in found:
                raise ConfigError(f"{path}:{line}: {key!r} is given twice (first in line {where[(*at, key)]})")
            where[(*at, key)] = line
            found[key] = _build(loader, value_node, (*at, key), where, path)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, entry, (*at, index), where, path) for index, entry in enumerate(node.value)]
    return loader.construct_object(node)


def _explain(error: ValidationError, where: Where, path: Path) -> list[str]:
    said: dict[str, None] = {}
    problems = error.errors(include_url=False)
    for problem in problems:
        loc: Sequence[str | int] = problem["loc"]
        inner = any(p["loc"][: len(loc)] == loc and p is not problem for p in problems)
        if problem["type"] == "too_short" and inner:
            continue  # entries that are wrong themselves were not counted: the list is as long as it looks
        context = problem.get("ctx", {})
        if problem["type"] == "unknown_key":
            loc = (*loc, str(context["key"]))
            said[f"{path}:{_line(where, loc)}: {context['text']}"] = None
            continue
        message = problem["msg"].removeprefix("Value error, ")
        place = ".".join(str(part) for part in loc)
        if problem["type"] == "missing":
            message = "is missing"
        elif isinstance(problem.get("input"), str | int | float) and problem["type"] != "value_error":
            message += f" (here: {problem['input']!r})"
        said[f"{path}:{_line(where, loc)}: {place + ': ' if place else ''}{message}"] = None
    return list(said)


def _line(where: Where, loc: Sequence[str | int]) -> int:
    """The line of the nearest thing above ``loc`` that stands in the file (a name of pydantic's own does not)."""
    at = tuple(loc)
    while at and at not in where:
        at = at[:-1]
    return where.get(at, 1)


def _looks_like_pipecat(data: dict[str, Any]) -> bool:
    turns = data.get("turns")
    return isinstance(turns, list) and any(
        isinstance(turn, dict) and ("user" in turn or isinstance(turn.get("expect"), list)) for turn in turns
    )
