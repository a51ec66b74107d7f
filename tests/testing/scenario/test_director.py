"""The director plays a script through an end: which steps, in which order, and what is kept of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from voice_agent.clock import ManualClock
from voice_agent.testing.scenario.director import Director, SpokenTurn
from voice_agent.testing.scenario.expect import Facts, Judgement
from voice_agent.testing.scenario.results import Result, StepResult
from voice_agent.testing.scenario.script_file import parse
from voice_agent.testing.scenario.stimulus import RATE
from voice_agent.testing.scenario.utterances import UtteranceAudio, UtteranceSource
from voice_agent.testing.verdict.calibrate import Calibration


class OneSecond(UtteranceSource):
    """Every utterance is a second of sound with speech from 0.2 s to 0.8 s."""

    def __init__(self) -> None:
        super().__init__("none", say=lambda voice, text: np.zeros(RATE, np.int16))

    def utterance(self, *given: object) -> UtteranceAudio:
        return UtteranceAudio(np.zeros(RATE, np.int16), 0.2, 0.8, True)


@dataclass
class RecordedEnd:
    """An end that writes down what it is told. ``replies``: whether there is one, by index of the turn."""

    replies: dict[int, bool] = field(default_factory=dict)
    notes: Sequence[str] = ()
    did: list[str] = field(default_factory=list)
    now_s: float = 10.0

    async def greeting(self, within_s: float) -> float | None:
        self.did.append(f"greeting {within_s:g}")
        return 0.25

    async def opened(self, *, greeted: bool) -> None:
        self.did.append(f"opened {greeted}")

    async def forget(self) -> None:
        self.did.append("forget")

    async def silence(self, seconds: float) -> tuple[tuple[float, float], bool]:
        self.did.append(f"silence {seconds:g}")
        return (self.now_s, self.now_s + seconds), False

    async def say(self, audio: UtteranceAudio, *, interrupts: bool) -> float:
        self.did.append("interrupt" if interrupts else "say")
        self.now_s += 5
        return self.now_s

    async def reply(self, spoken: SpokenTurn, after_s: float, patience_s: float) -> bool:
        self.did.append(f"reply to {spoken.index} for {after_s:g}")
        return self.replies.get(spoken.index, True)

    async def backchannel(self, spoken: SpokenTurn, audio: UtteranceAudio) -> None:
        self.did.append(f"backchannel to {spoken.index}")

    async def facts(self, scene: Sequence[SpokenTurn], patience_s: float) -> list[Facts]:
        self.did.append("facts " + " ".join(str(one.index) for one in scene))
        return [Facts(None, answered=True, stopped_ms=100.0 if one.interrupts else None) for one in scene]

    def finish(self, result: Result, folder: Path) -> None:
        raise AssertionError("the runner's part")


async def play(text: str, end: RecordedEnd, *, repeat: int = 1, warmup: int = 0) -> list[StepResult]:
    script = parse("gap: 0ms\n" + text, Path("x.voice.yaml"))
    steps: list[StepResult] = []
    await Director(script, end, OneSecond(), Calibration(ManualClock(), lambda: None), steps.append).play(
        repeat, warmup
    )
    return steps


async def test_greeting_warm_up_and_repetitions() -> None:
    end = RecordedEnd()
    text = "turns:\n  - listen: 4s\n    expect: {within: 300ms}\n  - say: a\n  - silence: 2s\n"
    steps = await play(text, end, repeat=2, warmup=1)
    once = ["forget", "say", "facts 1", "silence 2"]
    assert end.did == ["greeting 4", "opened True", "say", "facts 1", *once, *once]
    assert [(s.kind, s.round) for s in steps] == [
        ("listen", 0), ("speech", -1), ("speech", 0), ("silence", 0), ("speech", 1), ("silence", 1),
    ]  # fmt: skip
    assert [check.ok for check in steps[0].checks] == [True, True]  # answered, and within 300 ms
    assert steps[1].said_s == (15.0, 16.0)
    assert not any(s.failed for s in steps)


async def test_an_interruption_and_a_back_channel_wait_for_the_reply() -> None:
    end = RecordedEnd()
    text = (
        "turns:\n  - say: a\n    backchannel: {say: mhm, after: 0.5s}\n"
        "  - say: b\n    interrupt: {after: 1.2s}\n    expect: {stops_within: 200ms}\n"
    )
    steps = await play(text, end)
    assert end.did == [
        "opened False", "forget", "say", "reply to 0 for 0.5", "backchannel to 0", "reply to 0 for 1.2", "interrupt",
        "facts 0 1",
    ]  # fmt: skip
    assert [s.stopped_ms for s in steps] == [None, 100.0]
    assert [s.failed for s in steps] == [False, False]


async def test_without_a_reply_to_interrupt_the_rest_of_the_scene_is_not_played() -> None:
    end = RecordedEnd(replies={0: False})
    text = "turns:\n  - say: a\n    backchannel: mhm\n  - say: b\n    interrupt: {}\n  - say: c\n"
    steps = await play(text, end)
    assert "interrupt" not in end.did
    assert "backchannel to 0" not in end.did
    assert [(s.index, s.said_s is None, s.failed) for s in steps] == [
        (0, False, False), (1, True, True), (2, False, False),
    ]  # fmt: skip


async def test_the_llm_judge_is_asked_only_where_there_are_texts() -> None:
    asked: list[str] = []

    async def judge(criterion: str, text: str) -> Judgement:
        asked.append(criterion)
        return True, "yes"

    script = parse("gap: 0ms\nturns:\n  - say: a\n    expect: {says: {judge: kind}}\n", Path("x.voice.yaml"))
    steps: list[StepResult] = []
    calibration = Calibration(ManualClock(), lambda: None)
    await Director(script, RecordedEnd(), OneSecond(), calibration, steps.append, judge=judge).play(1, 0)
    assert asked == []  # no row, no texts
    assert [check.ok for check in steps[0].checks] == [True, None]
