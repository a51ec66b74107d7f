"""``--target room``: a caller joins a LiveKit room and measures whatever agent is there by sound alone.

Only the sound that arrives is known: no stages, words or tools (such expectations are reported as not held, neither
passed nor failed). Voice to voice includes the room: packets, Opus and the jitter buffers, both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...budget.ledger import Mark, Turn, TurnBuilder
from ...clock import SYSTEM, Clock
from ...config import Config
from ...errors import UsageError, VoiceAgentError
from ...room.access import LiveKitAccess
from ..harness.room_caller import Caller, token
from .director import End, SpokenTurn
from .expect import Facts
from .results import AUDIO, Result
from .script_file import Script
from .utterances import UtteranceAudio

JOIN_S = 20.0
RESUMED_WITHIN_S = 2.0  # after a back-channel, an agent that goes on is heard again this soon
LATE_MS = 20.0  # a caller that lagged by more is no measure


class NoAgentError(VoiceAgentError):
    """No agent came into the room."""


@dataclass(frozen=True, slots=True)
class RoomTarget:
    """A LiveKit server, and the name of the agent to dispatch (None: an agent that comes into new rooms by itself).

    One call a script, the turns repeated in it: a foreign agent's history cannot be reset.
    """

    access: LiveKitAccess
    agent_name: str | None = None
    clock: Clock = SYSTEM
    name: str = "room"
    notes: tuple[str, ...] = ("measured by sound alone, the room included: no stages",)

    def prepared(self, script: Script, config: Config) -> Config:
        """``config`` as it is. Raises UsageError for a script that needs our own agent."""
        scenario = script.scenario
        if scenario.perturb.echo is not None or any(t.perturb is not None and t.perturb.echo for t in scenario.turns):
            raise UsageError(
                f"{script.path}: echo is for --target script: the room's caller does not play what it hears"
            )
        for index, turn in enumerate(scenario.turns):
            if turn.dtmf is not None:
                raise UsageError(f"{script.path}:{script.lines[index]}: keys are for --target script as yet")
        if any(t.expect.error for t in scenario.turns):
            ours = [name for name in ("llm", "settings", "tools") if getattr(scenario, name)]
            named = f" ({', '.join(ours)})" if ours else ""
            raise UsageError(
                f"{script.path}: it sets and expects what only our own agent can do{named}: --target script"
            )
        return config

    @contextlib.asynccontextmanager
    async def opened(
        self, script: Script, config: Config, folder: Path, on_note: Callable[[str], None]
    ) -> AsyncIterator[End]:
        """A call in a room of its own. Raises NoAgentError if no agent comes."""
        access = self.access
        room = f"voice-agent-test-{uuid.uuid4().hex[:12]}"
        ticket = token(access.api_key, access.api_secret.reveal(), room, agent_name=self.agent_name)
        on_note(f"joining a room at {access.url}")
        async with Caller.joined(access.url, ticket, clock=self.clock) as caller:
            if not await caller.agent_there(JOIN_S):
                raise NoAgentError(
                    f"no agent came into the room within {JOIN_S:.0f} s: start one (voice-agent room dev, or your own"
                    " worker), and name it with --agent-name if it waits to be dispatched"
                )
            yield RoomEnd(caller)


@dataclass(slots=True)
class _Heard:
    """What was heard of the agent around one spoken turn, in seconds on the caller's timeline.

    ``early``: its first sound while the user still spoke; ``reply``: its first sound afterwards (``asked``: it was
    waited for). ``stopped_s``: how long after the user's first sound it fell silent.
    """

    early: float | None = None
    reply: float | None = None
    asked: bool = False
    stopped_s: float | None = None
    resumed: bool | None = None


@dataclass(slots=True)
class RoomEnd:
    """The end of a :class:`~voice_agent.testing.harness.room_caller.Caller`."""

    caller: Caller
    notes: Sequence[str] = ()
    _scene: list[_Heard] = field(default_factory=list)
    _number: int = 0

    async def greeting(self, within_s: float) -> float | None:
        joined = max(0.0, self.caller.agent_joined_s or 0.0)
        heard = await self.caller.reply(joined + within_s)
        await self.caller.quiet(0.7)
        return None if heard is None else max(0.0, heard - joined)

    async def opened(self, *, greeted: bool) -> None:
        if not greeted:
            await self.caller.quiet(1.0)  # a greeting that the script does not name is heard to its end

    async def forget(self) -> None:
        """A foreign agent keeps its history."""

    async def silence(self, seconds: float) -> tuple[tuple[float, float], bool]:
        began = self.caller.now_s()
        await asyncio.sleep(seconds)
        spoke = self.caller.last_heard_s > began
        await self.caller.quiet(0.5)
        return (began, began + seconds), spoke

    async def say(self, audio: UtteranceAudio, *, interrupts: bool) -> float:
        assert audio.start_s is not None
        assert audio.end_s is not None
        caller, heard = self.caller, _Heard()
        if not interrupts:
            self._scene.clear()
        self._scene.append(heard)
        caller.listen_from_now()
        start = caller.say(audio.pcm)
        if interrupts:
            heard.stopped_s = await caller.stopped(start + audio.start_s)
            caller.listen_from_now()
        heard.early = await caller.reply(start + audio.end_s)
        if heard.early is not None:  # spoke while the user did: the reply proper is what comes after
            await caller.spoken()
            caller.listen_from_now()
        return start

    async def reply(self, spoken: SpokenTurn, after_s: float, patience_s: float) -> bool:
        reply = await self._reply(spoken, patience_s)
        if reply is None:
            return False
        await asyncio.sleep(max(0.0, reply + after_s - self.caller.now_s()))
        return True

    async def _reply(self, spoken: SpokenTurn, patience_s: float) -> float | None:
        """When the reply to the turn spoken last became audible."""
        heard = self._scene[-1]
        if not heard.asked:
            heard.asked = True
            heard.reply = await self.caller.reply(max(spoken.end_s, self.caller.now_s()) + patience_s)
        return heard.reply

    async def backchannel(self, spoken: SpokenTurn, audio: UtteranceAudio) -> None:
        caller = self.caller
        caller.say(audio.pcm)
        await caller.spoken()
        caller.listen_from_now()
        self._scene[-1].resumed = await caller.reply(caller.now_s() + RESUMED_WITHIN_S) is not None

    async def facts(self, scene: Sequence[SpokenTurn], patience_s: float) -> list[Facts]:
        await self._reply(scene[-1], patience_s)
        await self.caller.quiet(0.8)
        return [self._fact(one, heard) for one, heard in zip(scene, self._scene, strict=True)]

    def _fact(self, one: SpokenTurn, heard: _Heard) -> Facts:
        row = self._row(one, heard.early if heard.early is not None else heard.reply)
        return Facts(
            row,
            answered=heard.reply is not None or heard.early is not None,
            answer_ms=row.voice_to_voice_ms,
            cut_off=heard.early is not None,
            stopped_ms=None if heard.stopped_s is None else heard.stopped_s * 1000,
            resumed=heard.resumed,
            by_sound=True,
        )

    def _row(self, one: SpokenTurn, audible: float | None) -> Turn:
        """The turn's row of the ledger: its end of speech and the agent's first sound, both by sound."""
        self._number += 1
        builder = TurnBuilder(self._number, item=one.item)
        builder.mark(Mark.SPEECH_ENDED, one.end_s)
        if audible is not None:
            builder.mark(Mark.FIRST_AUDIBLE, audible)
        if one.audio.synthetic:
            builder.simulate("user speech")
        if one.changed:
            builder.simulate("user sound")
        builder.evidence["measured"] = "by sound"
        builder.speech_ended_s, builder.first_audible_s = one.end_s, audible
        return builder.build()

    def finish(self, result: Result, folder: Path) -> None:
        """Keep the recording; a caller that lagged says so."""
        result.worst_lag_ms = self.caller.worst_lag_s * 1000
        if result.worst_lag_ms > LATE_MS:
            result.notes.append(
                f"this caller was late by up to {result.worst_lag_ms:.0f} ms: its figures are worth little"
            )
        self.caller.save(folder / AUDIO)
