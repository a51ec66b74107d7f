from __future__ import annotations

import pytest

from voice_agent.config import models
from voice_agent.tts import Voice


@pytest.fixture(scope="session")
def voice() -> Voice:
    """The embedded voice, loaded once: it has no state that one test could leave to the next."""
    return Voice.load(*models.piper("en_US-joe-medium"))
