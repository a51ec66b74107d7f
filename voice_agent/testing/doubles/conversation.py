"""A conversation that a test drives: say, hear, interrupt, and look at the ledger.

    async def test_weather(clock):
        async with conversation(clock, replies=["It is sunny."]) as c:
            turn = await c.say("What is the weather like?")
            assert turn.voice_to_voice_ms < 400
            assert c.heard == ["It is sunny."]

The same object stands behind the ``voice_session`` fixture of the pytest plugin.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from livekit.agents import Agent, AgentSession

from ...audio.timeline import USER_RATE, Timeline
from ...budget.attach import SessionLedger, attach
from ...budget.ledger import Mark, Turn
from ...clock import Clock
from ...config import Config
from ...errors import UsageError
from ...pipeline.session import PipelineSession
from ..harness.call_harness import CallHarness, PipelineCallHarness, call_harness
from ..harness.rows import MARGIN_S
from ..harness.speech_bounds import speech_span
from .deviations import ScriptError
from .llm import Replies, ScriptedLLM
from .scripted_io import ScriptedInput, ScriptedOutput
from .scripted_stages import ScriptedStages, deterministic, pace_of
from .stt import ScriptedSTT, ScriptedVAD
from .synthetic_speech import Spoken, spoken
from .tts import ScriptedTTS


@dataclass(frozen=True, slots=True)
class Doubles:
    """The stages for an ``AgentSession`` of your own: ``AgentSession(stt=d.stt, llm=d.llm, tts=d.tts, vad=d.vad)``."""

    stt: ScriptedSTT
    llm: ScriptedLLM
    tts: ScriptedTTS
    vad: ScriptedVAD


Build = Callable[[Doubles], tuple[AgentSession[Any], Agent]]
"""Makes your session and your agent from doubled stages."""


@dataclass(slots=True)
class Conversation:
    """A user and an agent on one timeline (virtual or real). ``ledger``: the turns so far, in order."""

    call_harness: CallHarness
    ledger: list[Turn] = field(default_factory=list)
    patience_s: float = 15.0
    speaker: Callable[..., Spoken] = spoken
    simulated: tuple[str, ...] = ("user speech", "STT", "TTS", "time")
    _read: int = 0

    @property
    def session(self) -> AgentSession[Any]:
        return self.call_harness.session

    @property
    def pipeline(self) -> PipelineSession:
        """This project's agent. Raises TypeError where ``build`` made the session."""
        if not isinstance(self.call_harness, PipelineCallHarness):
            raise TypeError("the session was made by build=: it has no pipeline of voice_agent")
        return self.call_harness.pipeline

    @property
    def now_s(self) -> float:
        """The present, in seconds on the timeline."""
        return self.call_harness.now_s()

    @property
    def heard(self) -> list[str]:
        """The agent's messages as far as they were played: one text a message, from the agent's history."""
        self._collect()
        messages = [m for m in self.session.history.items if m.type == "message" and m.role == "assistant"]
        return [m.text_content or "" for m in messages]

    async def say(self, *parts: str | float, wait: bool = True) -> Turn:
        """The user says texts (with seconds of silence between them), and hears the answer to its end.

        Returns the turn; its ``answered`` and ``error`` say whether an answer came. With ``wait=False`` it returns the
        last turn so far as soon as the user has said all; ScriptError if there is none. Raises ScriptError if no turn
        came of it within ``patience_s``.
        """
        end_at = self._speak(*parts)
        if not wait:
            await self._until(end_at)
            self._collect()
            if not self.ledger:
                raise ScriptError("there is no turn yet; with wait=False say() returns the one before")
            return self.ledger[-1]
        return await self._answered(end_at, " ".join(p for p in parts if isinstance(p, str)))

    async def interrupt(self, *parts: str | float, after: float = 1.0) -> Turn:
        """The user speaks when the agent has been audible for ``after`` seconds of its present reply.

        Call it after ``start(...)``. Returns the turn of these words. ScriptError if no reply lasts that long.
        """
        began = await self.call_harness.heard_for(after, patience_s=self.patience_s)
        if began is None:
            raise ScriptError(f"nothing to interrupt: no reply was audible for {after:g} s")
        end_at = self._speak(*parts)
        return await self._answered(end_at, " ".join(p for p in parts if isinstance(p, str)))

    async def start(self, *parts: str | float) -> None:
        """The user says texts; returns when they have been said, without waiting for the answer."""
        await self._until(self._speak(*parts))

    async def hear(self) -> str:
        """Wait until the agent has finished what it says, or is about to say. Returns what is new since the last call,

        or "" if it says nothing within ``patience_s``.
        """
        deadline = self.call_harness.timeline.clock.now() + self.patience_s
        while len(self.heard) <= self._read and self.call_harness.timeline.clock.now() < deadline:  # noqa: ASYNC110 - a history
            await asyncio.sleep(0.02)
        await self.call_harness.quiet(for_s=0.2)
        new = self.heard[self._read :]
        self._read += len(new)
        return " ".join(new)

    async def silence(self, seconds: float) -> None:
        """The user says nothing for ``seconds``."""
        await asyncio.sleep(seconds)
        self._collect()

    # ------------------------------------------------------------------------------------------------------------------

    def _speak(self, *parts: str | float) -> float:
        """Begin to say; returns when the last word ends."""
        said = self.speaker(*parts)
        start = self.call_harness.input.say(said.pcm)
        return self.call_harness.timeline.started_at + start / USER_RATE + said.end_s

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self.call_harness.timeline.clock.now()))

    def _collect(self) -> None:
        self.ledger.extend(self._placed(t) for t in self.call_harness.turns())

    def _placed(self, turn: Turn) -> Turn:
        timeline, ended, heard = (
            self.call_harness.timeline,
            turn.marks[Mark.SPEECH_ENDED],
            turn.marks[Mark.FIRST_AUDIBLE],
        )
        return dataclasses.replace(
            turn,
            simulated=tuple(dict.fromkeys([*turn.simulated, *self.simulated])),
            speech_ended_s=None if ended is None else timeline.seconds(ended),
            first_audible_s=None if heard is None else timeline.seconds(heard),
        )

    async def _answered(self, end_at: float, text: str) -> Turn:
        clock, call = self.call_harness.timeline.clock, self.call_harness
        while True:
            self._collect()
            mine = [t for t in self.ledger if (t.marks[Mark.SPEECH_ENDED] or 0.0) >= end_at - MARGIN_S]
            if mine and call.idle:
                await call.quiet(for_s=0.1)  # an apology is heard to its end too
                self._collect()
                return next(
                    t for t in reversed(self.ledger) if (t.marks[Mark.SPEECH_ENDED] or 0.0) >= end_at - MARGIN_S
                )
            if call.idle and clock.now() > max(end_at, call.output.last_audible_end) + self.patience_s:
                raise ScriptError(
                    f"no turn came of {text!r} within {self.patience_s:g} s: it was not heard, or never committed."
                    f" Turns so far: {[t.user_text for t in self.ledger]}"
                )
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def conversation(
    clock: Clock,
    config: Config | None = None,
    *,
    replies: Replies = None,
    tools: Sequence[Any] = (),
    build: Build | None = None,
    mishears: dict[str, str] | None = None,
    record: Path | None = None,
    patience_s: float = 15.0,
) -> AsyncIterator[Conversation]:
    """A conversation with this project's agent, or with yours (``build``), its models doubled.

    ``clock``: of the run (:func:`~voice_agent.testing.doubles.world.run` gives it). ``replies``: of the language model,
    in order; None: canned ones. Its pace follows ``config.llm.spec``, where that is ``sim:...``. ``tools`` as LiveKit's
    Agent takes them; ``mishears``: words that the STT gets wrong; ``record``: a stereo WAV. Without an error inside
    the block, leaving it raises ScriptError for what was not expected and what was left over.
    """
    config = deterministic(config or Config())
    if build is not None and tools:
        raise UsageError("give tools to the agent that build makes; tools= is for the default agent")
    if build is None:
        parts = ScriptedStages(config, clock, replies=replies, mishears=mishears)
        async with call_harness(config, record=record, tools=tools, shared=parts.pool, clock=clock) as made:
            talk = Conversation(made, patience_s=patience_s)
            yield talk
            talk._collect()
        parts.verify()
        return
    doubles = Doubles(
        ScriptedSTT(clock=clock), ScriptedLLM(replies, pace=pace_of(config), clock=clock), ScriptedTTS(clock=clock),
        ScriptedVAD(),
    )  # fmt: skip
    async with _own_session(build, doubles, record, clock) as made:
        talk = Conversation(made, patience_s=patience_s)
        yield talk
        talk._collect()
    doubles.llm.verify()


@contextlib.asynccontextmanager
async def _own_session(build: Build, doubles: Doubles, record: Path | None, clock: Clock) -> AsyncIterator[CallHarness]:
    """A call with the session that ``build`` makes."""
    session, agent = build(doubles)
    closed: asyncio.Queue[Turn] = asyncio.Queue()
    ledger = attach(session, on_turn=closed.put_nowait, clock=clock)
    with Timeline(record, clock) as timeline:
        async with contextlib.AsyncExitStack() as stack:
            source = ScriptedInput(timeline)
            sink = ScriptedOutput(timeline, on_audible=ledger.audible, on_gaps=ledger.gaps)
            session.input.audio, session.output.audio = source, sink
            await session.start(agent)
            stack.push_async_callback(_close, session, ledger, doubles)
            timeline.start()
            feeding = asyncio.create_task(source.feed())
            try:
                yield CallHarness(session, timeline, source, sink, closed)
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)


async def _close(session: AgentSession[Any], ledger: SessionLedger, doubles: Doubles) -> None:
    ledger.close()
    await session.aclose()
    await doubles.llm.aclose()
    await doubles.tts.aclose()
    await doubles.stt.aclose()


@contextlib.asynccontextmanager
async def real_conversation(
    config: Config, *, tools: Sequence[Any] = (), record: Path | None = None, patience_s: float = 15.0
) -> AsyncIterator[Conversation]:
    """The same with the models that ``config`` names, on the real-time line; the user is a Piper voice (synthetic)."""
    from ..scenario.utterances import Piper

    piper = Piper()

    def speaker(*parts: str | float) -> Spoken:
        pieces = [
            piper.say(config.tts.voice, part) if isinstance(part, str) else np.zeros(round(part * USER_RATE), np.int16)
            for part in parts
        ]
        pcm = np.concatenate(pieces)
        span = speech_span(pcm)
        if span is None:
            raise ScriptError(f"no speech can be heard in {parts!r}; give it words")
        return Spoken(pcm, span[1], " ".join(p for p in parts if isinstance(p, str)))

    async with call_harness(config, record=record, tools=tools) as made:
        talk = Conversation(made, patience_s=patience_s, speaker=speaker, simulated=("user speech",))
        yield talk
        talk._collect()
