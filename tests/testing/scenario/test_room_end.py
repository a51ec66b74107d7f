"""The room's end turns what a caller hears into facts: early sound, replies, interruptions, back-channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from voice_agent.config import Config, Secret
from voice_agent.errors import UsageError
from voice_agent.room.access import LiveKitAccess
from voice_agent.testing.harness.room_caller import Caller
from voice_agent.testing.scenario.director import SpokenTurn
from voice_agent.testing.scenario.results import Result
from voice_agent.testing.scenario.room_end import RoomEnd, RoomTarget
from voice_agent.testing.scenario.script_file import parse
from voice_agent.testing.scenario.stimulus import RATE
from voice_agent.testing.scenario.utterances import UtteranceAudio

AUDIO = UtteranceAudio(np.zeros(RATE, np.int16), 0.2, 0.8, True)
SCRIPT = parse("turns:\n  - say: a\n  - say: b\n    interrupt: {}\n", Path("x.voice.yaml"))


@dataclass
class ScriptedCaller:
    """A caller that hears what the test says: one entry a call of :meth:`reply`."""

    replies: list[float | None]
    stops: float | None = None
    worst_lag_s: float = 0.0
    last_heard_s: float = 0.0
    time_s: float = 0.0
    agent_joined_s: float | None = None
    until: list[float] = field(default_factory=list)
    saved: list[Path] = field(default_factory=list)

    def now_s(self) -> float:
        return self.time_s

    def say(self, pcm: object) -> float:
        self.time_s += 10.0
        return self.time_s - 1.0

    def listen_from_now(self) -> None: ...

    async def reply(self, until_s: float) -> float | None:
        self.until.append(until_s)
        return self.replies.pop(0)

    async def stopped(self, onset_s: float) -> float | None:
        return self.stops

    async def spoken(self) -> None: ...

    async def quiet(self, for_s: float) -> bool:
        return True

    def save(self, path: Path) -> None:
        self.saved.append(path)


def end_of(caller: ScriptedCaller) -> RoomEnd:
    return RoomEnd(cast(Caller, caller))


def spoken(index: int, start_s: float, *, interrupts: bool = False) -> SpokenTurn:
    return SpokenTurn(index, SCRIPT.scenario.turns[index], AUDIO, start_s, interrupts, changed=False)


async def test_a_reply_is_measured_from_the_end_of_the_speech() -> None:
    caller = ScriptedCaller([None, 10.3])
    end = end_of(caller)
    one = spoken(0, await end.say(AUDIO, interrupts=False))
    (facts,) = await end.facts([one], 8.0)
    assert caller.until == pytest.approx([9.8, 18.0])  # until the speech ends; then the patience, from now on
    assert facts.answered
    assert not facts.cut_off
    assert facts.by_sound
    assert facts.answer_ms == pytest.approx(500)
    assert facts.turn is not None
    assert facts.turn.item == "1 a"
    assert facts.turn.simulated == ("user speech",)


async def test_an_agent_that_speaks_before_the_user_has_finished_cuts_off() -> None:
    end = end_of(ScriptedCaller([9.5, None]))
    one = spoken(0, await end.say(AUDIO, interrupts=False))
    (facts,) = await end.facts([one], 8.0)
    assert facts.cut_off
    assert facts.answered  # it spoke, if too early
    assert facts.turn is not None
    assert facts.turn.cut_off


async def test_an_interruption_says_how_soon_the_agent_stopped() -> None:
    caller = ScriptedCaller([None, 10.3, None, 20.4], stops=0.25)
    end = end_of(caller)
    first = spoken(0, await end.say(AUDIO, interrupts=False))
    assert await end.reply(first, 0.0, 8.0)
    second = spoken(1, await end.say(AUDIO, interrupts=True), interrupts=True)
    facts = await end.facts([first, second], 8.0)
    assert [f.stopped_ms for f in facts] == [None, 250.0]
    assert [f.answer_ms for f in facts] == pytest.approx([500, 600])
    assert caller.replies == []  # the first reply was waited for once


async def test_nothing_to_interrupt_and_a_back_channel() -> None:
    end = end_of(ScriptedCaller([None, None]))
    one = spoken(0, await end.say(AUDIO, interrupts=False))
    assert not await end.reply(one, 1.0, 8.0)
    (facts,) = await end.facts([one], 8.0)
    assert not facts.answered
    end = end_of(ScriptedCaller([None, 10.3, 21.5]))
    one = spoken(0, await end.say(AUDIO, interrupts=False))
    assert await end.reply(one, 0.0, 8.0)
    await end.backchannel(one, AUDIO)
    (facts,) = await end.facts([one], 8.0)
    assert facts.resumed


def test_a_caller_that_lagged_says_so(tmp_path: Path) -> None:
    for lag_s, notes in ((0.01, 0), (0.03, 1)):
        caller = ScriptedCaller([], worst_lag_s=lag_s)
        result = Result("x", "", Path("x"), "room", 0, tmp_path)
        end_of(caller).finish(result, tmp_path)
        assert len(result.notes) == notes
        assert result.worst_lag_ms == pytest.approx(lag_s * 1000)
        assert caller.saved == [tmp_path / "audio.wav"]


@pytest.mark.parametrize(
    "text",
    [
        "turns:\n  - dtmf: '12'\n",
        "perturb: {echo: {}}\nturns:\n  - say: a\n",
        "turns:\n  - say: a\n    expect: {error: x}\n",
    ],
)
def test_what_only_our_own_agent_can_do_is_refused(text: str) -> None:
    target = RoomTarget(LiveKitAccess("ws://localhost", "k", Secret("s")))
    with pytest.raises(UsageError, match="--target script"):
        target.prepared(parse(text, Path("x.voice.yaml")), Config())
