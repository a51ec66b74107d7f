"""Plays a script's turns through one end of a call, step by step, and checks each step.

The :class:`Director` has the logic of a scene; an :class:`End` speaks and listens. There are two: ``harness_end.py``
(our own agent in this process) and ``room_end.py`` (any agent in a LiveKit room, by its sound alone).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from ...budget.ledger import Turn
from ..harness.rows import scenes
from ..verdict.calibrate import Calibration
from .expect import Facts, Judgement, check_turn
from .expect_schema import TurnExpect
from .results import Result, StepResult
from .script_file import Script
from .script_schema import ScriptTurn
from .stimulus import RATE
from .user_schema import Perturb
from .utterances import UtteranceAudio, UtteranceSource

OnStep: TypeAlias = Callable[[StepResult], None]
Judge: TypeAlias = Callable[[str, str], Awaitable[Judgement]]
_Entry: TypeAlias = tuple[int, ScriptTurn]  # a turn and its place in the script


@dataclass(frozen=True, slots=True)
class SpokenTurn:
    """A turn of the script that has been spoken. Times: seconds on the end's timeline.

    ``interrupts``: it was spoken into the reply to the turn before it. ``changed``: its sound was perturbed.
    """

    index: int
    turn: ScriptTurn
    audio: UtteranceAudio
    start_s: float
    interrupts: bool
    changed: bool

    @property
    def onset_s(self) -> float:
        """Where the speech begins."""
        return self.start_s + (self.audio.start_s or 0.0)

    @property
    def end_s(self) -> float:
        """Where the speech ends; of tones, where the sound ends."""
        return self.start_s + (self.audio.end_s if self.audio.end_s is not None else len(self.audio.pcm) / RATE)

    @property
    def span_s(self) -> tuple[float, float]:
        """Begin and end of the sound."""
        return self.start_s, self.start_s + len(self.audio.pcm) / RATE

    @property
    def item(self) -> str:
        """The turn's name in its row."""
        return f"{self.index + 1} {self.turn.label}"[:80]


class End(Protocol):
    """One end of a call: it speaks as the user and hears the agent."""

    @property
    def notes(self) -> Sequence[str]:
        """What the agent said about itself when the call began."""

    async def greeting(self, within_s: float) -> float | None:
        """Seconds from the beginning of the call to the agent's first sound; None if there is none in that time."""

    async def opened(self, *, greeted: bool) -> None:
        """The turns begin. ``greeted``: the script has waited for a greeting."""

    async def forget(self) -> None:
        """Go back to the history of :meth:`opened`, where the agent allows it."""

    async def silence(self, seconds: float) -> tuple[tuple[float, float], bool]:
        """Say nothing. Returns begin and end, and whether the agent spoke."""

    async def say(self, audio: UtteranceAudio, *, interrupts: bool) -> float:
        """Speak; over the agent's voice if it ``interrupts``. Returns the start, when the speech has ended."""

    async def reply(self, spoken: SpokenTurn, after_s: float, patience_s: float) -> bool:
        """Wait until the reply to ``spoken`` has been audible for ``after_s``; False if none was in ``patience_s``."""

    async def backchannel(self, spoken: SpokenTurn, audio: UtteranceAudio) -> None:
        """Speak ``audio`` over the reply to ``spoken``."""

    async def facts(self, scene: Sequence[SpokenTurn], patience_s: float) -> list[Facts]:
        """Wait until the scene has been answered and the answer played; what is known of each of its turns."""

    def finish(self, result: Result, folder: Path) -> None:
        """The call is over or interrupted: add to ``result`` what the end knows of the whole; keep the recording."""


@dataclass(slots=True)
class Director:
    """Plays ``script`` through ``end``. ``on_step`` is given each step as it is over; ``judge`` may be None."""

    script: Script
    end: End
    utterance_source: UtteranceSource
    calibration: Calibration
    on_step: OnStep
    seed: int = 0
    judge: Judge | None = None

    async def play(self, repeat: int, warmup: int) -> None:
        """Greetings first, then the warm-up, then all turns, ``repeat`` times from the same history."""
        scenario = self.script.scenario
        turns = list(enumerate(scenario.turns))
        lead = next((i for i, turn in turns if turn.listen is None), len(turns))
        for index, turn in turns[:lead]:
            await self._listen(index, turn)
        await self.end.opened(greeted=lead > 0)
        rest = turns[lead:]
        spoken = [entry for entry in rest if entry[1].spoken and entry[1].interrupt is None]
        for number in range(warmup if spoken else 0):
            await self._scene([spoken[number % len(spoken)]], -1, (number,))
        for number in range(repeat):
            await self.end.forget()
            for again in range(scenario.times):
                for scene in scenes(rest, lambda entry: entry[1].interrupt is not None):
                    await self._scene(scene, number, (number, again))

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _listen(self, index: int, turn: ScriptTurn) -> None:
        """The agent speaks first."""
        assert turn.listen is not None
        heard_s = await self.end.greeting(turn.listen)
        answer_ms = None if heard_s is None else heard_s * 1000
        await self._close(
            index, turn, 0, "listen", None, Facts(None, answered=heard_s is not None, answer_ms=answer_ms)
        )

    async def _scene(self, scene: Sequence[_Entry], number: int, places: tuple[int, ...]) -> None:
        index, turn = scene[0]
        if turn.silence is not None:
            span_s, spoke = await self.end.silence(turn.silence)
            await self._close(index, turn, number, "silence", span_s, Facts(None, answered=spoke))
        elif turn.listen is None:
            await self._speak(scene, number, places)
        gap = self.script.scenario.gap
        await asyncio.sleep(gap / 2)
        await asyncio.get_running_loop().run_in_executor(None, self.calibration.measure)
        await asyncio.sleep(gap / 2)

    async def _speak(self, scene: Sequence[_Entry], number: int, places: tuple[int, ...]) -> None:
        """A turn, and those that interrupt its reply; returns when all is said and heard."""
        end, patience = self.end, self.script.scenario.patience
        # All sounds first: making speech takes the processor, and time that a reply would not wait for.
        sounds = [await self._sounds(index, turn, places) for index, turn in scene]
        spoken: list[SpokenTurn] = []
        for (index, turn), (audio, backchannel) in zip(scene, sounds, strict=True):
            if spoken:
                assert turn.interrupt is not None
                if not await end.reply(spoken[-1], turn.interrupt.after, patience):
                    break  # no reply to speak into: the rest of the scene is not played
            start_s = await end.say(audio, interrupts=bool(spoken))
            changed = (turn.perturb or self.script.scenario.perturb) != Perturb()
            spoken.append(SpokenTurn(index, turn, audio, start_s, bool(spoken), changed))
            if turn.backchannel is None or backchannel is None:
                continue
            if await end.reply(spoken[-1], turn.backchannel.after, patience):
                await end.backchannel(spoken[-1], backchannel)
        for one, facts in zip(spoken, await end.facts(spoken, patience), strict=True):
            kind = "dtmf" if one.turn.dtmf else "speech"
            await self._close(one.index, one.turn, number, kind, one.span_s, facts)
        for index, turn in scene[len(spoken) :]:
            await self._close(index, turn, number, "speech", None, Facts(None))

    async def _sounds(
        self, index: int, turn: ScriptTurn, places: tuple[int, ...]
    ) -> tuple[UtteranceAudio, UtteranceAudio | None]:
        """What a turn says, and its back-channel."""
        how = turn.perturb or self.script.scenario.perturb
        seed = (self.seed, index, *(place % (1 << 32) for place in places))

        def make() -> tuple[UtteranceAudio, UtteranceAudio | None]:
            said = self.utterance_source.utterance(self.script, turn, how, seed)
            if turn.backchannel is None:
                return said, None
            return said, self.utterance_source.utterance(self.script, turn.backchannel, how, (*seed, 1))

        return await asyncio.get_running_loop().run_in_executor(None, make)

    # --- results -----------------------------------------------------------------------------------------------------

    async def _close(
        self,
        index: int,
        turn: ScriptTurn,
        number: int,
        kind: str,
        said_s: tuple[float, float] | None,
        facts: Facts,
    ) -> None:
        facts = dataclasses.replace(facts, said=turn.words, judged=await self._ask(turn.expect, facts))
        self.on_step(
            StepResult(
                index=index,
                round=number,
                kind=kind,
                name=turn.label,
                line=self.script.lines[index],
                said=turn.words,
                said_s=said_s,
                checks=tuple(check_turn(turn.expect, facts, wants_answer=turn.wants_answer)),
                row=facts.turn,
                answered=facts.answered,
                wants_answer=turn.wants_answer and turn.expect.error is None,
                stopped_ms=facts.stopped_ms,
                resumed=facts.resumed,
                calls=tuple((name, dict(args)) for name, args in facts.calls),
            )
        )

    async def _ask(self, expect: TurnExpect, facts: Facts) -> Mapping[str, Judgement]:
        """What the LLM judge says of the turn's texts, by criterion; empty without a judge or without texts."""
        found: dict[str, Judgement] = {}
        row: Turn | None = facts.turn
        if self.judge is None or row is None or facts.by_sound:
            return found
        for words, text in ((expect.heard, row.user_text), (expect.says, row.agent_text)):
            if words is not None and words.judge is not None:
                found[words.judge] = await self.judge(words.judge, text)
        return found
