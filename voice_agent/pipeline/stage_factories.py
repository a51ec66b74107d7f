"""How the stages of one call are made. Doubles hand in other factories (voice_agent.testing.doubles)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from ..llm.client import ChatLLM
from ..runtime.scheduling import Scheduler
from ..stt import FastWhisperSTT
from ..tts import PiperTTS


@dataclass(frozen=True, slots=True)
class StageFactories:
    """``stt``, ``tts`` and ``llm`` take the arguments of the classes that are their defaults.

    ``stt_executor(scheduler, urgent)``: the executor of one call's STT passes. ``doubled``: the stages are doubles;
    their sound is not speech that a VAD could find.
    """

    stt: Callable[..., FastWhisperSTT] = FastWhisperSTT
    tts: Callable[..., PiperTTS] = PiperTTS
    llm: Callable[..., ChatLLM] = ChatLLM.from_config
    stt_executor: Callable[[Scheduler, Callable[[], bool]], Executor] = Scheduler.executor
    doubled: bool = False


__all__ = ["StageFactories"]
