"""One call: the road, laid into a room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from livekit import rtc
from livekit.agents import JobContext
from livekit.agents.voice import room_io
from opentelemetry import context as otel_context

from ..budget.ledger import Budget, Turn
from ..clock import SYSTEM, Clock
from ..config import Config
from ..livekit_compat.ffi import narrow_room
from ..livekit_compat.output import RoomOutput
from ..livekit_compat.transcription import by_told_times
from ..pipeline.loaded_models import LoadedModels
from ..pipeline.session import PipelineSession, open_session
from . import audio_input as ears
from . import published
from .keys import Keypad
from .people import People

log = logging.getLogger("voice_agent.room")

MAX_CHAT = 4_000  # characters of one typed message; what is longer is cut
RPC_INTERRUPT = "voice_agent.interrupt"


class Call:
    """A call that is being held. ``open_session`` has the session."""

    def __init__(self, ctx: JobContext, config: Config, clock: Clock) -> None:
        self.ctx = ctx
        self.config = config
        self.budget = Budget.from_config(config.budget)
        self.pipeline: PipelineSession
        self.people: People
        self.loop = asyncio.get_running_loop()
        self._clock = clock
        self._trace = otel_context.get_current()
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio keeps only weak references

    def turn(self, turn: Turn) -> None:
        """The ledger has closed a turn."""
        log.info("%s", Line(self.ctx.room.name, turn))
        published.count(turn, self.budget)
        published.spans(turn, self._trace, self._clock)
        self.spawn(published.send(self.ctx.room, turn, self.budget))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the call."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def chat(self, session: Any, ev: room_io.TextInputEvent) -> None:
        """Typed text: an answer that is being spoken makes way, as for a spoken turn."""
        if text := ev.text.strip()[:MAX_CHAT]:
            await self._ask(text)

    def keys(self, typed: str) -> None:
        """Keys pressed on a phone."""
        self.spawn(self._ask(f"(keys pressed on the phone) {typed}"))

    async def interrupt(self, data: rtc.RpcInvocationData) -> str:
        """The page's button. Only the one who is heard may press it."""
        linked = self.pipeline.session.room_io.linked_participant
        if linked is None or linked.identity != data.caller_identity:
            raise rtc.RpcError(403, "only the participant who is heard may interrupt")
        await self.pipeline.session.interrupt()
        return ""

    def connection(self, state: rtc.ConnectionState.ValueType) -> None:
        """A network break: the native client reconnects by itself; say what happens."""
        if state == rtc.ConnectionState.CONN_RECONNECTING:
            log.warning("room %s: the connection is broken; reconnecting", self.ctx.room.name)
        elif state == rtc.ConnectionState.CONN_CONNECTED:
            log.info("room %s: connected", self.ctx.room.name)

    def worker_ends(self) -> None:
        """Do not wait in an empty room. From any thread."""
        with contextlib.suppress(RuntimeError):  # the call's loop is closed: the call is over
            self.loop.call_soon_threadsafe(self.people.no_waiting)

    async def settle(self) -> None:
        """Let what runs beside the call come to its end."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, text: str) -> None:
        session = self.pipeline.session
        with contextlib.suppress(RuntimeError):  # the session is closing, or an uninterruptible speech is on
            await session.interrupt()
        with contextlib.suppress(RuntimeError):
            session.generate_reply(user_input=text)


class Line:
    """A turn for the log; made only if somebody reads it."""

    def __init__(self, room: str, turn: Turn) -> None:
        self._room, self._turn = room, turn

    def __str__(self) -> str:
        total = self._turn.voice_to_voice_ms
        heard = "no voice-to-voice time" if total is None else f"{total:.0f} ms"
        return f"room {self._room} turn {self._turn.id}: {published.outcome(self._turn)}, {heard}"


@contextlib.asynccontextmanager
async def call(
    ctx: JobContext,
    config: Config,
    shared: LoadedModels,
    *,
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    clock: Clock = SYSTEM,
) -> AsyncIterator[Call]:
    """Join the room of ``ctx`` and talk in it until the block ends. ``config`` has the job's metadata in it already."""
    held = Call(ctx, config, clock)
    connecting = asyncio.create_task(ctx.connect())
    async with open_session(config, on_turn=held.turn, tools=tools, mcp=mcp, shared=shared, clock=clock) as r:
        held.pipeline = r
        await connecting
        room = ctx.room
        narrow_room(room)
        output = RoomOutput(room, on_audible=r.audible, on_gaps=r.ledger.gaps, clock=clock)
        publishing = asyncio.create_task(output.start())
        publishing.add_done_callback(lambda done: _published(ctx, done))
        keypad = Keypad(held.keys, wait_s=config.room.dtmf_wait_s)
        r.session.output.audio = output
        people: People | None = None
        telling: asyncio.Task[None] | None = None

        def pressed(ev: rtc.SipDTMF) -> None:
            linked = r.session.room_io.linked_participant
            if ev.participant is not None and linked is not None and ev.participant.identity == linked.identity:
                keypad.press(ev.digit)

        if config.room.dtmf == "text":
            room.on("sip_dtmf_received", pressed)
        try:
            await r.start(
                room=room,
                room_options=room_io.RoomOptions(
                    audio_input=ears.options(config.room, crowded=shared.crowded()),
                    audio_output=False,  # ours is set already
                    text_input=room_io.TextInputOptions(text_input_cb=held.chat),
                    close_on_disconnect=False,  # people come back; see People
                ),
                record=False,
                session_host=config.room.remote_session,
            )
            by_told_times(r.session)
            room.on("connection_state_changed", held.connection)
            room.local_participant.register_rpc_method(RPC_INTERRUPT, held.interrupt)
            telling = asyncio.create_task(published.UsageTold(room).follow())
            held.people = people = People(
                room,
                r.session,
                empty_s=config.room.empty_s,
                on_empty=lambda: ctx.shutdown(reason="the room is empty"),
            )
            yield held
        finally:
            if people is not None:
                people.close()
            keypad.close()
            if config.room.dtmf == "text":
                room.off("sip_dtmf_received", pressed)
            r.ledger.close()
            await held.settle()
            beside = [task for task in (publishing, telling) if task is not None]
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await r.session.aclose()
            await output.aclose()


def _published(ctx: JobContext, done: asyncio.Task[None]) -> None:
    """A call without a voice is none: end it, so that it does not look like one."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("room %s: the agent's track could not be published: %s", ctx.job.room.name, error)
        ctx.shutdown(reason="no track")
