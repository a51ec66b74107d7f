from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from voice_agent.budget import Turn, TurnBuilder

from .session import Session

# A busy machine makes single examples slow, and that is not what these properties are about.
settings.register_profile("budget", deadline=None, database=None)
settings.load_profile("budget")

MakeTurn = Callable[..., Turn]


@pytest.fixture
def make_turn() -> MakeTurn:
    """Build a turn from marks in milliseconds on a line that does not start at 0, and attributes of the builder."""

    def make(marks_ms: dict[str, float], *, id: int | str = 1, **attributes: Any) -> Turn:
        builder = TurnBuilder(id)
        for name, ms in marks_ms.items():
            builder.mark(name, 86_400.0 + ms / 1000)
        for name, value in attributes.items():
            assert hasattr(builder, name)
            setattr(builder, name, value)
        return builder.build()

    return make


@pytest.fixture
def session() -> Session:
    return Session()
