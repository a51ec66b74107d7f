"""YAML with the line of every key and list entry.

Numbers are decimal only (YAML 1.1 reads the keys ``012`` as octal 10), and ``say: no`` says "no".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ...errors import ConfigError

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


def line_of(where: Where, loc: Sequence[str | int]) -> int:
    """The line of the nearest thing above ``loc`` that stands in the file (a name of pydantic's own does not)."""
    at = tuple(loc)
    while at and at not in where:
        at = at[:-1]
    return where.get(at, 1)
