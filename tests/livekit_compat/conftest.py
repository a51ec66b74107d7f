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
    """Take a symbol out of its library for the rest of the test."""

    def remove(symbol: Symbol) -> None:
        *owners, name = symbol.name.split(".")
        module = owner = importlib.import_module(symbol.module)
        for part in owners:
            owner = getattr(owner, part)
        if symbol.set_in:
            monkeypatch.setattr(owner, symbol.set_in, lambda *args, **kwargs: None)
        elif owners and module.__name__.endswith("_pb2"):  # a generated class cannot be changed
            monkeypatch.setattr(module, owners[0], object())
        else:
            monkeypatch.delattr(owner, name)

    return remove
