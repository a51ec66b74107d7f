"""Private names of LiveKit, httpx2, httpcore2 and faster-whisper are used in livekit_compat alone."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import voice_agent
from tests.livekit_compat.test_symbols import SYMBOLS

ROOT = Path(__file__).parents[2]
LIBRARIES = ("livekit", "httpx2", "httpcore2", "faster_whisper")
HOOKS = {"_run", "_recognize_impl", "_prewarm_impl", "_main_task", "_process", "_close"}
"""Methods that LiveKit has a subclass write."""
DOORS = ("voice_agent/livekit_compat", "tests/livekit_compat")
FILES = [
    path
    for folder in ("voice_agent", "tests", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not str(path.relative_to(ROOT)).startswith(DOORS)
]
NAMES = {part for symbol in SYMBOLS.values() for part in symbol.name.split(".") if part.startswith("_")}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import of a library's private module or name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (
            (node.lineno, name)
            for name in names
            if name.split(".")[0] in LIBRARIES and any(private(part) for part in name.split("."))
        )


def read_elsewhere(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each known private name that is read of anything but ``self``, also by ``getattr``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in NAMES:
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and name.value in NAMES:
                yield node.lineno, ast.unparse(node)


def test_no_file_imports_or_reads_a_private_name_of_a_library() -> None:
    assert len(FILES) > 300
    found = []
    for path in FILES:
        tree = ast.parse(path.read_text())
        found += [f"{path.relative_to(ROOT)}:{line}: {name}" for line, name in (*imported(tree), *read_elsewhere(tree))]
    assert not found, f"give these a public name in voice_agent/livekit_compat: {found}"


def own_classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(voice_agent.__path__, "voice_agent."):
        if not module.name.startswith("voice_agent.livekit_compat"):
            yield from (
                found
                for found in vars(importlib.import_module(module.name)).values()
                if inspect.isclass(found) and found.__module__ == module.name
            )


def source_of(owner: type) -> ast.AST:
    """Empty for a class without source (made by a decorator, or in C)."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError):
        return ast.Module([], [])


def privates_of_bases(owner: type) -> set[str]:
    """Private names that the bases of ``owner`` in a library define or set on ``self``."""
    names: set[str] = set()
    for base in owner.__mro__:
        if base.__module__.split(".")[0] in LIBRARIES:
            names |= {name for name in vars(base) if private(name) and not name.startswith("_abc_")}
            names |= {
                node.attr
                for node in ast.walk(source_of(base))
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and private(node.attr)
            }
    return names - HOOKS


def test_no_class_uses_or_shadows_a_private_name_of_its_base_in_a_library() -> None:
    found: list[str] = []
    looked_at = 0
    for owner in own_classes():
        if not (names := privates_of_bases(owner)):
            continue
        looked_at += 1
        nodes = list(ast.walk(source_of(owner)))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        used |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        found += [f"{owner.__module__}.{owner.__qualname__}.{name}" for name in sorted(used & names)]
    assert looked_at > 15
    assert not found, f"give these another name, or a public one in voice_agent/livekit_compat: {found}"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from livekit.rtc._ffi_client import FfiClient", 1),
        ("from faster_whisper.tokenizer import Tokenizer, _LANGUAGE_CODES", 1),
        ("import livekit.rtc._proto.room_pb2", 1),
        ("from livekit import rtc\nfrom ._own import _thing", 0),
        ("print(handle._scheduled_fut, getattr(room, '_ffi_queue', None))", 2),
        ("self._pool = self._lock", 0),
    ],
)
def test_the_search_finds_them(source: str, count: int) -> None:
    tree = ast.parse(source)
    assert len([*imported(tree), *read_elsewhere(tree)]) == count
