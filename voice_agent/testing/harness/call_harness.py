"""A call in this process: recordings in on a real-time timeline, the agent's sound out and recorded.

To direct a call yourself::

    async with call_harness(config, record=Path("out.wav"), echo=SimulatedEcho(0.08, -6.0)) as call:
        start = call.input.say(pcm)                     # as soon as possible; sample of the user's 16 kHz
        since = await call.heard_for(1.2)               # 1.2 s into the reply (None: no reply came)
        call.input.say(more, at_s=call.now_s())         # over whatever is spoken, by either side
        await call.quiet()                              # everything is spoken and heard
        turns = call.turns()                            # rows closed since the last call
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livekit.agents import AgentSession

from ...audio.timeline import Timeline
from ...budget.ledger import Mark, Turn
from ...clock import SYSTEM, Clock
from ...config import Config
from ...pipeline.hooks import PipelineHooks
from ...pipeline.model_pool import ModelPool
from ...pipeline.session import PipelineSession, Progress, open_session
from .faults import Faults
from .rows import MARGIN_S, OVERLAP_SETTLED_S
from .script_input import ScriptInput, SimulatedEcho
from .script_output import ScriptOutput


@dataclass(slots=True)
class CallHarness:
    """A call with recordings, on one timeline.

    ``input`` is the user's microphone (``input.say``), ``output`` the user's loudspeaker (``output.playing``,
    ``output.audible_since``, ``output.pauses``), ``timeline`` holds both tracks. ``closed``: rows of the ledger as they
    are closed (see :meth:`turns`).
    """

    session: AgentSession[Any]
    timeline: Timeline
    input: ScriptInput
    output: ScriptOutput
    closed: asyncio.Queue[Turn]

    def now_s(self) -> float:
        """The present, in seconds on the timeline."""
        return self.timeline.seconds(self.timeline.clock.now())

    def turns(self) -> list[Turn]:
        """The rows closed since the last call, in order."""
        out: list[Turn] = []
        while not self.closed.empty():
            out.append(self.closed.get_nowait())
        return out

    @property
    def idle(self) -> bool:
        """Neither side speaks, and the agent is not thinking."""
        listening = self.session.agent_state in ("listening", "idle", "initializing")
        return not self.input.speaking and not self.output.playing and listening

    async def heard_for(self, seconds: float, *, patience_s: float = 15.0) -> float | None:
        """Wait until a reply has been audible for ``seconds``; return when it began, in seconds on the timeline.

        None if no reply lasted that long within ``patience_s`` after the user's last sound. A shorter reply is heard
        to its end, and the wait goes on.
        """
        clock = self.timeline.clock
        began_waiting = clock.now()
        while True:
            since, now = self.output.audible_since, clock.now()
            if since is not None and not self.output.paused and now >= since + seconds:
                return self.timeline.seconds(since)
            if self.input.speaking:
                began_waiting = now
            if self.idle and now > max(began_waiting, self.output.last_audible_end) + patience_s:
                return None
            await asyncio.sleep(0.005)

    async def settle(
        self, end_at: float, patience_s: float, *, may_be_no_turn: Callable[[list[Turn]], bool]
    ) -> list[Turn]:
        """Wait until speech that ends at ``end_at`` (monotonic) has been answered and the answer played.

        Returns the rows closed meanwhile. Gives up after ``patience_s`` of silence, and after
        OVERLAP_SETTLED_S where ``may_be_no_turn(rows so far)``: the agent may take the speech for no turn.
        """
        clock, turns = self.timeline.clock, list[Turn]()
        while True:
            turns += self.turns()
            now = clock.now()
            final = any((t.marks[Mark.SPEECH_ENDED] or 0.0) >= end_at - MARGIN_S for t in turns)
            if self.idle and (final or (now > end_at + OVERLAP_SETTLED_S and may_be_no_turn(turns))):
                return turns
            if self.idle and now > max(end_at, self.output.last_audible_end) + patience_s:
                return turns
            await asyncio.sleep(0.02)

    async def quiet(self, *, for_s: float = 0.0) -> None:
        """Wait until the call has been :attr:`idle` for ``for_s`` seconds."""
        clock, since = self.timeline.clock, self.timeline.clock.now()
        while not self.idle or clock.now() < since + for_s:
            if not self.idle:
                since = clock.now()
            await asyncio.sleep(0.02)


@dataclass(slots=True)
class PipelineCallHarness(CallHarness):
    """A call with this project's agent. Make one with :func:`call_harness`."""

    pipeline: PipelineSession


@contextlib.asynccontextmanager
async def call_harness(
    config: Config,
    *,
    record: Path | None = None,
    echo: SimulatedEcho | None = None,
    on_note: Progress = lambda _: None,
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    shared: ModelPool | None = None,
    hooks: PipelineHooks | None = None,
    clock: Clock = SYSTEM,
) -> AsyncIterator[PipelineCallHarness]:
    """Start the agent with recordings in place of a device; ``record`` is written as the call goes on.

    ``echo``: the agent's sound comes back into the user's microphone. ``shared``: loaded models, or doubles of them.
    ``hooks``: what is put between the stages (default: the delay of ``[debug]``).
    Raises what :func:`~voice_agent.pipeline.session.open_session` raises.
    """
    closed: asyncio.Queue[Turn] = asyncio.Queue()
    with Timeline(record, clock) as timeline:
        async with open_session(
            config,
            on_turn=closed.put_nowait,
            progress=on_note,
            tools=tools,
            mcp=mcp,
            shared=shared,
            hooks=hooks or Faults(config.debug),
            clock=clock,
        ) as pipeline:
            source = ScriptInput(timeline, echo)
            sink = ScriptOutput(timeline, on_audible=pipeline.audible, on_gaps=pipeline.ledger.gaps)
            pipeline.session.input.audio, pipeline.session.output.audio = source, sink
            pipeline.on_note = on_note
            await pipeline.start()
            timeline.start()
            tasks = [asyncio.create_task(source.feed()), asyncio.create_task(_keep_writing(timeline))]
            try:
                yield PipelineCallHarness(pipeline.session, timeline, source, sink, closed, pipeline)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_writing(timeline: Timeline) -> None:
    while True:
        await asyncio.sleep(1.0)
        timeline.write(timeline.seconds(timeline.clock.now()) - 0.5)
