"""A release that lacks a private name, and what is warned of then."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

import pytest

from voice_agent.livekit_compat import symbols
from voice_agent.livekit_compat.symbols import Symbol


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been warned of so far; nothing before this test."""
    monkeypatch.setattr(symbols, "_warned", set())
    monkeypatch.setattr(logging.getLogger("voice_agent"), "propagate", True)
    return lambda: [record.getMessage() for record in caplog.records if record.name == "voice_agent"]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[Symbol], None]:
    """Take a symbol out of its module for the rest of the test."""

    def remove(symbol: Symbol) -> None:
        owner, _, name = f"{symbol.module}.{symbol.name}".rpartition(".")
        found = importlib.import_module(symbol.module)
        for part in owner.removeprefix(symbol.module).split(".")[1:]:
            found = getattr(found, part)
        monkeypatch.delattr(found, name)

    return remove
