from __future__ import annotations

import pytest

from tests.microphone.sound_double import OpenCall, SoundSystemDouble
from voice_agent.clock import ManualClock


@pytest.fixture
def call() -> OpenCall:
    return OpenCall(SoundSystemDouble(ManualClock(100.0)))
