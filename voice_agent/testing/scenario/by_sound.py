"""``--target room``: a caller joins a LiveKit room and measures whatever agent is there by sound alone.

Nothing of the agent is known but what arrives: no stages, no words, no tools (expectations of these are reported as
not held, neither passed nor failed). Voice to voice has the room in it: packets, Opus, the jitter buffer, both ways.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from ...budget.export import JsonlWriter
from ...budget.ledger import Budget, Mark, Turn, TurnBuilder
from ...clock import SYSTEM, Clock
from ...config import Config
from ...errors import UsageError, VoiceAgentError
from ...room import access as access_to
from ..harness.room_caller import RATE, Caller, token
from ..verdict.calibrate import Calibration
from . import schema
from .director import Judge, OnStep, scenes
from .expect import Facts, check_turn
from .load import Script
from .results import AUDIO, RUN, STEPS, TURNS, Result, Step, begin, clear, run_row, step_row, write_json
from .runner import facts_of, finish
from .utterances import Utterance, UtteranceSource

JOIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Access(access_to.LiveKitAccess):
    """The server, and the agent that is to be sent (None: one that comes by itself)."""

    agent_name: str | None = None


class NoAgentError(VoiceAgentError):
    """Nobody was there to talk to."""


async def run_in_room(
    script: Script,
    config: Config,
    folder: Path,
    *,
    access: Access,
    repeat: int = 1,
    warmup: int | None = None,
    seed: int = 0,
    judge: Judge | None = None,
    on_step: OnStep = lambda step: None,
    on_note: Callable[[str], None] = lambda text: None,
    clock: Clock = SYSTEM,
) -> Result:
    """As :func:`~.runner.run_script`, in a room of its own a script. One call, the turns ``repeat`` times over: an
    agent that is not ours cannot be made to forget. ``judge`` has nothing to read here.

    Raises UsageError for a script that needs our own agent, NoAgentError if none comes.
    """
    scenario = script.scenario
    clear(folder)  # as in run_script
    _possible(script)
    seed += scenario.seed
    result = Result(scenario.name, scenario.guards, script.path, "room", seed, folder)
    result.notes.append("measured by sound alone, the room included: no stages")
    warm = warmup if warmup is not None else scenario.warmup if scenario.warmup is not None else int(repeat > 1)
    facts = facts_of(script, config, repeat=repeat, warmup=warm, clock=clock)
    begin(result, facts)
    loop = asyncio.get_running_loop()
    calibration = await loop.run_in_executor(None, Calibration, clock)
    utterance_source = UtteranceSource(config.tts.voice)
    ticket = token(
        access.api_key,
        access.api_secret.reveal(),
        f"voice-agent-test-{uuid.uuid4().hex[:12]}",
        agent_name=access.agent_name,
    )
    on_note(f"joining a room at {access.url}")
    async with AsyncExitStack() as stack:
        caller = await stack.enter_async_context(Caller.joined(access.url, ticket, clock=clock))
        if not await caller.agent_there(JOIN_S):
            raise NoAgentError(
                f"no agent came into the room within {JOIN_S:.0f} s: start one (voice-agent room dev, or your own"
                " worker), and name it with --agent-name if it waits to be dispatched"
            )
        rows = stack.enter_context(JsonlWriter(folder / TURNS, Budget.from_config(config.budget)))
        steps = stack.enter_context((folder / STEPS).open("w"))
        listener = _Listener(script, caller, utterance_source, seed, result, calibration)

        def closed(step: Step) -> None:
            result.steps.append(step)
            if step.row is not None:
                rows.write(step.row)
            print(json.dumps(step_row(step)), file=steps, flush=True)
            on_step(step)

        listener.closed = closed
        try:
            await listener.play(repeat, warm)
        except asyncio.CancelledError:
            result.interrupted = True
        except VoiceAgentError as error:
            result.error = str(error)
        finally:
            result.calibration_ms = calibration.samples_ms
            result.worst_lag_ms = caller.worst_lag_s * 1000
            caller.save(folder / AUDIO)
    if result.worst_lag_ms > 20:
        result.notes.append(f"this caller was late by up to {result.worst_lag_ms:.0f} ms: its figures are worth little")
    finish(result, scenario)
    write_json(folder / RUN, run_row(result, facts))
    return result


def _possible(script: Script) -> None:
    scenario = script.scenario
    ours = [name for name in ("llm", "settings", "tools") if getattr(scenario, name)]
    if scenario.perturb.echo is not None or any(t.perturb is not None and t.perturb.echo for t in scenario.turns):
        raise UsageError(f"{script.path}: echo is for --target script: the room's caller does not play what it hears")
    for index, turn in enumerate(scenario.turns):
        if turn.dtmf is not None:
            raise UsageError(f"{script.path}:{script.lines[index]}: keys are for --target script as yet")
    if any(t.expect.error for t in scenario.turns):
        named = f" ({', '.join(ours)})" if ours else ""
        raise UsageError(f"{script.path}: it sets and expects what only our own agent can do{named}: --target script")


@dataclass(slots=True)
class _Listener:
    script: Script
    caller: Caller
    utterance_source: UtteranceSource
    seed: int
    result: Result
    calibration: Calibration
    closed: Callable[[Step], None] = lambda step: None
    _number: int = 0

    async def play(self, repeat: int, warmup: int) -> None:
        turns = list(enumerate(self.script.scenario.turns))
        lead = next((i for i, turn in turns if turn.listen is None), len(turns))
        if not lead:
            await self.caller.quiet(1.0)  # a greeting that the script does not speak of is let pass
        for index, turn in turns[:lead]:
            await self._listen(index, turn)
        rest = turns[lead:]
        spoken = [entry for entry in rest if entry[1].spoken and entry[1].interrupt is None]
        for number in range(warmup if spoken else 0):
            await self._scene([spoken[number % len(spoken)]], -1, number)
        for number in range(repeat):
            for again in range(self.script.scenario.times):
                for scene in scenes(rest):
                    await self._scene(scene, number, number * 1000 + again)

    async def _listen(self, index: int, turn: schema.Turn) -> None:
        assert turn.listen is not None
        caller = self.caller
        joined = max(0.0, caller.agent_joined_s or 0.0)
        heard = await caller.reply(joined + turn.listen)
        await caller.quiet(0.7)
        answer_ms = None if heard is None else max(0.0, heard - joined) * 1000
        self._close(index, turn, 0, "listen", None, Facts(None, answered=heard is not None, answer_ms=answer_ms))

    async def _scene(self, scene: list[tuple[int, schema.Turn]], number: int, place: int) -> None:
        index, turn = scene[0]
        if turn.silence is not None:
            began = self.caller.now_s()
            await asyncio.sleep(turn.silence)
            spoke = self.caller.last_heard_s > began
            await self.caller.quiet(0.5)
            self._close(index, turn, number, "silence", (began, began + turn.silence), Facts(None, answered=spoke))
        elif turn.listen is None:
            await self._speak(scene, number, place)
        gap = self.script.scenario.gap
        await asyncio.sleep(gap / 2)
        await asyncio.get_running_loop().run_in_executor(None, self.calibration.measure)
        await asyncio.sleep(gap / 2)

    async def _speak(self, scene: list[tuple[int, schema.Turn]], number: int, place: int) -> None:
        loop, caller, scenario = asyncio.get_running_loop(), self.caller, self.script.scenario
        sounds: list[Utterance] = []
        for index, turn in scene:
            how = turn.perturb or scenario.perturb
            seed = (self.seed, index, place % (1 << 32))
            sounds.append(
                await loop.run_in_executor(None, self.utterance_source.utterance, self.script, turn, how, seed)
            )
        for at, (index, turn) in enumerate(scene):
            sound = sounds[at]
            assert sound.start_s is not None
            assert sound.end_s is not None
            caller.listen_from_now()
            start = caller.say(sound.pcm)
            stopped: float | None = None
            if at:
                stopped = await caller.stopped(start + sound.start_s)
                caller.listen_from_now()
            early = await caller.reply(start + sound.end_s)
            if early is not None:  # spoke while the user did: the answer proper is what comes after
                await caller.spoken()
                caller.listen_from_now()
            end = start + sound.end_s
            heard = await caller.reply(max(end, caller.now_s()) + scenario.patience)
            row = self._row(index, turn, sound, end, early if early is not None else heard)
            resumed: bool | None = None
            follows = scene[at + 1][1] if at + 1 < len(scene) else None
            if heard is not None and turn.backchannel is not None:
                resumed = await self._backchannel(turn.backchannel, heard, (self.seed, index, place, 1))
            if follows is None or heard is None:
                await caller.quiet(0.8)
            else:
                assert follows.interrupt is not None
                await asyncio.sleep(max(0.0, heard + follows.interrupt.after - caller.now_s()))
            facts = Facts(
                row,
                answered=heard is not None or early is not None,
                answer_ms=row.voice_to_voice_ms,
                cut_off=early is not None,
                stopped_ms=None if stopped is None else stopped * 1000,
                resumed=resumed,
                by_sound=True,
            )
            said = (start, start + len(sound.pcm) / RATE)
            self._close(index, turn, number, "speech", said, facts, row)

    async def _backchannel(self, words: schema.Backchannel, heard: float, seed: tuple[int, ...]) -> bool:
        """Said ``after`` into the reply; whether the agent is heard again within two seconds of its end."""
        how = self.script.scenario.perturb
        sound = await asyncio.get_running_loop().run_in_executor(
            None, self.utterance_source.utterance, self.script, words, how, seed
        )
        await asyncio.sleep(max(0.0, heard + words.after - self.caller.now_s()))
        self.caller.say(sound.pcm)
        await self.caller.spoken()
        self.caller.listen_from_now()
        return await self.caller.reply(self.caller.now_s() + 2.0) is not None

    def _row(self, index: int, turn: schema.Turn, sound: Utterance, end: float, heard: float | None) -> Turn:
        self._number += 1
        builder = TurnBuilder(self._number, item=f"{index + 1} {turn.label}"[:80])
        builder.mark(Mark.SPEECH_ENDED, end)
        if heard is not None:
            builder.mark(Mark.FIRST_AUDIBLE, heard)
        if sound.synthetic:
            builder.simulate("user speech")
        if (turn.perturb or self.script.scenario.perturb) != schema.Perturb():
            builder.simulate("user sound")
        builder.evidence["measured"] = "by sound"
        builder.speech_ended_s, builder.first_audible_s = end, heard
        return builder.build()

    def _close(
        self,
        index: int,
        turn: schema.Turn,
        number: int,
        kind: str,
        said_s: tuple[float, float] | None,
        facts: Facts,
        row: Turn | None = None,
    ) -> None:
        self.closed(
            Step(
                index=index,
                round=number,
                kind=kind,
                name=turn.label,
                line=self.script.lines[index],
                said=turn.words,
                said_s=said_s,
                checks=tuple(check_turn(turn.expect, facts, wants_answer=turn.wants_answer)),
                row=row,
                answered=facts.answered,
                wants_answer=turn.wants_answer,
                stopped_ms=facts.stopped_ms,
                resumed=facts.resumed,
            )
        )
