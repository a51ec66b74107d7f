"""Read ``*.voice.yaml`` scripts. An error names the file, the line, and what is allowed there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...errors import ConfigError, UsageError
from .pipecat import convert
from .script_schema import Scenario
from .yaml_lines import Where, line_of, read_yaml

SUFFIX = ".voice.yaml"


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
        data, where = convert(data, where, path)
    if "name" not in data:
        data = {"name": path.name.removesuffix(SUFFIX).removesuffix(".yaml"), **data}
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, where, path))) from None
    lines = tuple(line_of(where, ("turns", index)) for index in range(len(scenario.turns)))
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
            said[f"{path}:{line_of(where, loc)}: {context['text']}"] = None
            continue
        message = problem["msg"].removeprefix("Value error, ")
        place = ".".join(str(part) for part in loc)
        if problem["type"] == "missing":
            message = "is missing"
        elif isinstance(problem.get("input"), str | int | float) and problem["type"] != "value_error":
            message += f" (here: {problem['input']!r})"
        said[f"{path}:{line_of(where, loc)}: {place + ': ' if place else ''}{message}"] = None
    return list(said)


def _looks_like_pipecat(data: dict[str, Any]) -> bool:
    turns = data.get("turns")
    return isinstance(turns, list) and any(
        isinstance(turn, dict) and ("user" in turn or isinstance(turn.get("expect"), list)) for turn in turns
    )
