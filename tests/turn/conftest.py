from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from voice_agent.config import TurnConfig
from voice_agent.turn import EndOfTurnModel

from .driven_detector import CONFIG, DrivenDetector


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., DrivenDetector]]:
    calls: list[DrivenDetector] = []

    def new(end_of_turn_model: EndOfTurnModel, config: TurnConfig = CONFIG) -> DrivenDetector:
        calls.append(DrivenDetector(end_of_turn_model, config))
        return calls[-1]

    yield new
    for call in calls:
        await call.detector.aclose()
