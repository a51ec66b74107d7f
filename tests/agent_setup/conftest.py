"""A file with tools, and no configuration from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

DESK = '''
from __future__ import annotations
import threading
from dataclasses import dataclass
from livekit.agents import RunContext, function_tool


@dataclass
class Reader:
    name: str


def fine_for(days: int, reader: str = "anybody") -> str:
    """The fine for a book that is late.

    Args:
        days: how many days late the book is
    """
    return f"{reader} pays {days * 10} pence ({threading.current_thread().name})"


async def renew(ctx: RunContext, title: str) -> str:
    """Renew a book by its title."""
    return f"renewed {title}"


@function_tool(name="shelf")
def where(title: str) -> str:
    """Which shelf a book is on."""
    return f"{title} is on shelf 4 ({threading.current_thread().name})"


def burn(title: str) -> str:
    """Fails."""
    raise LookupError(f"no book called {title}")


def _helper(anything):
    return anything
'''


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VOICE_AGENT_CONFIG", raising=False)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    path = tmp_path / "desk.py"
    path.write_text(DESK)
    return path
