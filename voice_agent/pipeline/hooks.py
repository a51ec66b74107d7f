"""Hooks between the stages of one session: whoever opens it may put something around a stage.

:class:`voice_agent.testing.harness.faults.Faults` delays a stage this way. A session without hooks pays nothing.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING

from livekit.agents.voice import io

from ..turn_events import BaseTurnDetector

if TYPE_CHECKING:
    from ..tts import Synthesizer


class PipelineHooks:
    """Each method is given a part of the session and returns what is used in its place. This class changes nothing;
    a subclass overrides what it needs."""

    def stt_executor(self, inner: Executor) -> Executor:
        """The executor that runs the session's STT passes."""
        return inner

    def turn_detector(self, inner: BaseTurnDetector) -> BaseTurnDetector:
        """The turn detector of one STT stream."""
        return inner

    def llm_delay_s(self) -> float:
        """Seconds to wait before each LLM request."""
        return 0.0

    def voice(self, inner: Synthesizer) -> Synthesizer:
        """The voice that the TTS speaks with."""
        return inner

    def output(self, inner: io.AudioOutput) -> io.AudioOutput:
        """The audio output that the session plays on."""
        return inner


__all__ = ["PipelineHooks"]
