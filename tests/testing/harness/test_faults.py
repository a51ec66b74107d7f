"""Faults delay the stage that the configuration names, and wrap nothing when it names none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from voice_agent.audio.samples import Int16
from voice_agent.clock import Clock
from voice_agent.config import DebugConfig, FlagValue, load
from voice_agent.errors import ConfigError
from voice_agent.testing.doubles import conversation, run
from voice_agent.testing.harness.faults import Faults
from voice_agent.turn_events import EndOfTurn, SpeechStarted, TurnEvent

END = EndOfTurn("hi", 1.0, 0.2, 0.2)


class ScriptedDetector:
    """A turn detector that emits what the test has it emit."""

    in_speech = True
    speech_ended_s = loud_until_s = 1.5
    wants_confirmation = False

    def __init__(self) -> None:
        self.emit: Callable[[TurnEvent], None] = lambda decision: None
        self.calls: list[str] = []

    def bind(self, emit: Callable[[TurnEvent], None]) -> None:
        self.emit = emit

    def window(self, end_s: float, probability: float, pcm: Int16) -> None:
        self.calls.append("window")

    def text(self, text: str, covers_s: float, now_s: float) -> None:
        self.calls.append("text")

    def advance(self, now_s: float) -> None:
        self.calls.append("advance")

    async def aclose(self) -> None:
        self.calls.append("aclose")


def test_nothing_is_wrapped_without_a_stage() -> None:
    faults = Faults(DebugConfig())
    turn_detector = ScriptedDetector()
    with ThreadPoolExecutor(1) as thread:
        assert faults.stt_executor(thread) is thread
    assert faults.turn_detector(turn_detector) is turn_detector


def test_a_wrong_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match="delay_stage"):
        load(env={}, flags={"debug.delay_stage": "voice"})


async def test_an_end_of_turn_comes_late_and_in_order() -> None:
    faults = Faults(DebugConfig(delay_stage="turn", delay_ms=20.0))
    inner = ScriptedDetector()
    got: list[TurnEvent] = []
    turn_detector = faults.turn_detector(inner)
    turn_detector.bind(got.append)
    started = SpeechStarted(0.0)
    inner.emit(started)
    assert got == [started]  # only an end of turn is late
    inner.emit(END)
    inner.emit(started)  # what follows a late end of turn must not overtake it
    assert got == [started]
    async with asyncio.timeout(10):
        while len(got) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert got == [started, END, started]
    faults.stage = ""
    await asyncio.sleep(0.03)
    inner.emit(END)
    assert got[-1] is END
    assert turn_detector.in_speech
    assert turn_detector.speech_ended_s == 1.5
    await turn_detector.aclose()
    assert inner.calls == ["aclose"]


async def test_a_pass_takes_longer_on_its_own_thread() -> None:
    faults = Faults(DebugConfig(delay_stage="stt", delay_ms=30.0))
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        slow = faults.stt_executor(pool)
        began = loop.time()
        assert await loop.run_in_executor(slow, lambda: 7) == 7
        assert loop.time() - began >= 0.03
    assert faults.llm_delay_s() == 0.0


@pytest.mark.parametrize("stage", ["llm", "output"])
def test_the_harness_delays_the_stage_of_the_configuration(stage: str) -> None:
    """In a whole call on virtual time: the answer comes later by what the stage is late, as far as nothing hides it."""

    def voice_to_voice_ms(delay_ms: float) -> float:
        flags: dict[str, FlagValue] = {
            "llm.spec": "sim:ttft=200ms",
            "debug.delay_stage": stage,
            "debug.delay_ms": delay_ms,
        }
        flags |= {"degradation.hedge": False, "degradation.acknowledge": False}
        config = load(env={}, flags=flags)

        async def main(clock: Clock) -> float:
            async with conversation(clock, config) as c:
                turn = await c.say("What is the weather like today?")
                assert turn.voice_to_voice_ms is not None
                return turn.voice_to_voice_ms

        return run(main)

    assert voice_to_voice_ms(1500.0) - voice_to_voice_ms(500.0) == pytest.approx(1000.0, abs=60.0)
