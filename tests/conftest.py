"""What all tests share: the switch for long ones, and the recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from voice_agent.config import models


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run soaks and long benchmarks")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    kept = [item for item in items if item.get_closest_marker("long") is None]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = kept


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of recordings."""
    return models.assets()


@pytest.fixture(scope="session")
def speech(assets: Path) -> Path:
    """The folder of recorded sentences and holds; its README says what is in it."""
    return assets / "speech"
