"""``--target script``: our own agent in this process, on the real-time timeline. Everything can be expected of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livekit.agents import FunctionToolsExecutedEvent, function_tool
from livekit.agents.llm import ChatContext

from ...audio.timeline import RECORD_RATE, USER_RATE
from ...budget.ledger import Turn
from ...clock import SYSTEM, Clock
from ...config import Config
from ...pipeline.model_pool import ModelPool
from ..harness.call_harness import PipelineCallHarness, call_harness
from ..harness.rows import row_of, turns_of_each
from ..harness.script_input import SimulatedEcho
from ..harness.self_check import difference_ms
from .configured import configured
from .director import End, SpokenTurn
from .expect import Facts
from .results import AUDIO, Result
from .script_file import Script
from .script_schema import Scenario, ScriptTool
from .stage_timing import StageTiming, fell_silent_ms
from .utterances import UtteranceAudio

BEFORE_S = 0.3  # heard this shortly before the user began, the agent was speaking


def tools_of(scenario: Scenario) -> list[Any]:
    """The script's tools as LiveKit's Agent takes them."""
    return [_tool(tool) for tool in scenario.tools]


def _tool(tool: ScriptTool) -> Any:
    async def run(raw_arguments: dict[str, object]) -> str:
        await asyncio.sleep(tool.takes)
        return tool.returns

    properties = {name: {"type": "string"} for name in tool.args}
    parameters = {"type": "object", "properties": properties, "required": list(tool.args)}
    return function_tool(
        run, raw_schema={"name": tool.name, "description": tool.description or tool.name, "parameters": parameters}
    )


@dataclass(frozen=True, slots=True)
class HarnessTarget:
    """Starts the agent for a script. ``shared``: loaded models, or doubles of them."""

    shared: ModelPool | None = None
    clock: Clock = SYSTEM
    name: str = "script"
    notes: tuple[str, ...] = ()

    def prepared(self, script: Script, config: Config) -> Config:
        """``config`` with the script's own settings, and rows that can be replayed under another policy."""
        config = configured(config, script.scenario)
        return dataclasses.replace(config, turn=dataclasses.replace(config.turn, record_evidence=True))

    @contextlib.asynccontextmanager
    async def opened(
        self, script: Script, config: Config, folder: Path, on_note: Callable[[str], None]
    ) -> AsyncIterator[End]:
        """A call with the agent; its recording goes to ``folder``."""
        echo = script.scenario.perturb.echo
        timing = StageTiming(config.debug, self.clock)
        async with call_harness(
            config,
            record=folder / AUDIO,
            echo=None if echo is None else SimulatedEcho(max(0.01, echo.delay), echo.level),
            on_note=on_note,
            tools=tools_of(script.scenario),
            shared=self.shared,
            hooks=timing,
            clock=self.clock,
        ) as call:
            # A doubled voice is no speech that the VAD could find.
            yield HarnessEnd(call, timing, checks_recording=self.shared is None or not self.shared.factories.doubled)


@dataclass(slots=True)
class HarnessEnd:
    """The end of a :class:`~voice_agent.testing.harness.call_harness.PipelineCallHarness`."""

    call: PipelineCallHarness
    timing: StageTiming
    checks_recording: bool = True
    _history: ChatContext = field(init=False)
    _calls: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    _turns: list[Turn] = field(default_factory=list)  # rows closed in the present scene
    _backchanneled: set[int] = field(default_factory=set)  # turns of the scene with a back-channel in their reply
    _number: int = 0

    def __post_init__(self) -> None:
        pipeline = self.call.pipeline
        self._history = pipeline.agent.chat_ctx.copy()
        pipeline.session.on("function_tools_executed", self._executed)

    @property
    def notes(self) -> Sequence[str]:
        return self.call.pipeline.notes

    async def greeting(self, within_s: float) -> float | None:
        call, clock = self.call, self.call.timeline.clock
        began, heard = call.timeline.started_at, None
        while heard is None and clock.now() < began + within_s:
            await asyncio.sleep(0.005)
            heard = call.output.audible_since
        await call.quiet(for_s=0.3)
        return None if heard is None else heard - began

    async def opened(self, *, greeted: bool) -> None:
        self._history = self.call.pipeline.agent.chat_ctx.copy()

    async def forget(self) -> None:
        await self.call.pipeline.agent.update_chat_ctx(self._history.copy())

    async def silence(self, seconds: float) -> tuple[tuple[float, float], bool]:
        call, began = self.call, self.call.timeline.clock.now()
        await asyncio.sleep(seconds)
        spoke = call.output.playing or call.output.last_audible_end > began
        await call.quiet()
        start = call.timeline.seconds(began)
        return (start, start + seconds), spoke

    async def say(self, audio: UtteranceAudio, *, interrupts: bool) -> float:
        call = self.call
        if not interrupts:
            call.turns()
            self._turns.clear()
            self._backchanneled.clear()
        start = call.input.say(audio.pcm, at_s=call.now_s() if interrupts else None)
        while call.input.speaking:
            self._turns += call.turns()
            await asyncio.sleep(0.01)
        return start / USER_RATE

    async def reply(self, spoken: SpokenTurn, after_s: float, patience_s: float) -> bool:
        return await self.call.heard_for(after_s, patience_s=patience_s) is not None

    async def backchannel(self, spoken: SpokenTurn, audio: UtteranceAudio) -> None:
        self.call.input.say(audio.pcm, at_s=self.call.now_s())
        self._backchanneled.add(spoken.index)

    async def facts(self, scene: Sequence[SpokenTurn], patience_s: float) -> list[Facts]:
        call, last = self.call, scene[-1]
        optional = len(scene) > 1 and not last.turn.wants_answer
        settled = await call.settle(self._at(last.end_s), patience_s, may_be_no_turn=lambda turns: optional)
        await call.quiet(for_s=0.1)  # an apology, or a second segment, is heard to its end too
        turns = [*self._turns, *settled, *call.turns()]
        begins = [self._at(one.start_s) for one in scene]
        untils = [*begins[1:], float("inf")]
        owns = turns_of_each(turns, begins)
        return [self._fact(one, own, until) for one, own, until in zip(scene, owns, untils, strict=True)]

    def _at(self, seconds: float) -> float:
        """A place on the timeline as the clock's time."""
        return self.call.timeline.started_at + seconds

    def _fact(self, one: SpokenTurn, own: Sequence[Turn], until: float) -> Facts:
        """``own``: its turns; ``until``: when the next turn of the scene was begun (the clock's time)."""
        row: Turn | None = None
        began = self._at(one.start_s)
        if own or one.turn.wants_answer:
            self._number += 1
            row = row_of(
                self._number,
                one.item,
                self._at(one.end_s),
                own,
                self.call.timeline,
                synthetic=one.audio.synthetic,
            )
            evidence = {**row.evidence, **self.timing.own_times(began, row)}
            changed = ("user sound",) if one.changed else ()
            row = dataclasses.replace(row, evidence=evidence, simulated=(*row.simulated, *changed))
        answered = row is not None and row.answered
        over_reply = one.index in self._backchanneled and row is not None
        return Facts(
            row,
            answered=answered,
            answer_ms=None if row is None else row.voice_to_voice_ms,
            cut_off=row is not None and row.cut_off,
            stopped_ms=self._stopped_ms(one, row) if one.interrupts else None,
            resumed=answered and not row.interrupted if over_reply and row is not None else None,
            calls=tuple((n, a) for at, n, a in self._calls if began <= at < until),
        )

    def _stopped_ms(self, one: SpokenTurn, row: Turn | None) -> float | None:
        """From the user's first sound until the agent falls silent, read off the recording's samples.

        None if the agent was silent already.
        """
        reply = None if row is None else row.first_audible_s
        until = reply if reply is not None and reply > one.onset_s + 0.05 else one.onset_s + 6.0
        first = max(0, round((one.onset_s - BEFORE_S) * RECORD_RATE))
        agent = self.call.timeline.agent.read(first, round(until * RECORD_RATE))
        return fell_silent_ms(agent, one.onset_s - first / RECORD_RATE)

    def finish(self, result: Result, folder: Path) -> None:
        """Hold the ledger to the samples of the recording: the worst difference over all turns."""
        result.worst_lag_ms = self.call.input.worst_lag_s * 1000
        if not self.checks_recording:
            return
        said = [step.said_s[0] for step in result.steps if step.said_s is not None]
        for step in result.steps:
            turn = step.row
            if turn is None or turn.speech_ended_s is None or turn.first_audible_s is None or turn.cut_off:
                continue
            if any(turn.speech_ended_s < at < turn.first_audible_s + 0.6 for at in said):
                continue  # spoken into the very reply: the samples alone do not tell which end is meant
            difference = difference_ms(self.call.timeline, turn)
            if difference is not None:
                result.worst_difference_ms = max(result.worst_difference_ms or 0.0, difference)
                result.compared += 1

    def _executed(self, event: FunctionToolsExecutedEvent) -> None:
        now = self.call.timeline.clock.now()
        for call in event.function_calls:
            args = json.loads(call.arguments or "{}")
            self._calls.append((now, call.name, args if isinstance(args, dict) else {}))
