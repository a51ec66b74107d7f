"""Each private name that the package uses, against the installed release of its library."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from voice_agent import livekit_compat
from voice_agent.errors import DependencyError
from voice_agent.livekit_compat.symbols import TESTED, Symbol, Versions, installed, warn_once

ROOT = Path(__file__).parents[2]
MODULES = [f"{livekit_compat.__name__}.{module.name}" for module in pkgutil.iter_modules(livekit_compat.__path__)]
SYMBOLS = {
    (name.rpartition(".")[2], str(symbol)): symbol
    for name in MODULES
    for value in vars(importlib.import_module(name)).values()
    for symbol in (value if isinstance(value, tuple) else (value,))
    if isinstance(symbol, Symbol)
}
GONE = Symbol("livekit-agents", "livekit.agents", "_gone", "nothing is lost")
NEEDED = Symbol("livekit-agents", "livekit.agents", "Agent._gone", "no call can be held", required=True)


@pytest.mark.parametrize(("where", "symbol"), [(w, s) for (w, _), s in SYMBOLS.items()], ids=str)
def test_the_installed_release_has_it(where: str, symbol: Symbol) -> None:
    assert symbol.exists(), (
        f"{symbol.distribution} {installed(symbol.distribution)} has no {symbol}, which"
        f" voice_agent/livekit_compat/{where}.py uses; without it, {symbol.lost}"
    )


@pytest.mark.parametrize("distribution", TESTED)
def test_the_installed_release_is_a_tested_one(distribution: str) -> None:
    assert installed(distribution) in TESTED[distribution]


def test_the_project_asks_for_the_tested_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["local"])]
    assert {one.name: one.specifier for one in asked if one.name in TESTED} == {
        name: SpecifierSet(str(versions)) for name, versions in TESTED.items()
    }


@pytest.mark.parametrize(
    ("version", "inside"),
    [("1.8.8", False), ("1.8.9", True), ("1.8.10.post1", True), ("1.9rc1", False), ("1.10", False), ("", False)],
)
def test_versions_are_compared_as_numbers(version: str, inside: bool) -> None:
    assert (version in Versions("1.8.9", "1.9")) is inside


def test_a_missing_name_is_warned_of_once(warnings: Callable[[], list[str]]) -> None:
    assert GONE.find() is None
    assert GONE.find() is None
    (message,) = warnings()
    assert "has no livekit.agents._gone: nothing is lost. Run: pip install 'livekit-agents>=1.8.9,<1.9'" in message


def test_without_a_name_that_is_needed_it_says_which_version_has_it(warnings: Callable[[], list[str]]) -> None:
    with pytest.raises(
        DependencyError, match=r"no call can be held\. Run: pip install 'livekit-agents>=1\.8\.9,<1\.9'"
    ):
        NEEDED.find()
    assert warnings() == []


def test_the_same_warning_is_given_once(warnings: Callable[[], list[str]]) -> None:
    for _ in range(3):
        warn_once("one")
        warn_once("two")
    assert warnings() == ["one", "two"]
