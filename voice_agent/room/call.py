"""One call: a session of the pipeline in a room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from livekit import rtc
from livekit.agents import AgentSession, JobContext
from livekit.agents.voice import room_io
from opentelemetry import context as otel_context

from ..budget.ledger import Turn
from ..budget.turn_verdict import Budget
from ..clock import SYSTEM, Clock
from ..config import Config
from ..livekit_compat import room_output as livekit_output
from ..livekit_compat.ffi import route_room
from ..livekit_compat.transcription import skip_speaking_rate
from ..pipeline.hooks import PipelineHooks
from ..pipeline.model_pool import ModelPool
from ..pipeline.session import PipelineSession, open_session
from . import audio_input, ledger_publisher, metrics
from .dtmf import keypad_of
from .output import RoomOutput
from .participants import Participants
from .track import publish_options

log = logging.getLogger("voice_agent.room")

MAX_CHAT = 4_000  # characters of one typed message; what is longer is cut
RPC_INTERRUPT = "voice_agent.interrupt"


class RoomCall:
    """A call that is under way (:func:`open_call`)."""

    def __init__(self, participants: Participants) -> None:
        self._participants = participants
        self._loop = asyncio.get_running_loop()

    @property
    def any_present(self) -> bool:
        """Whether there is somebody to talk to. From any thread."""
        return self._participants.any_present

    def worker_ends(self) -> None:
        """Do not wait in an empty room. From any thread."""
        with contextlib.suppress(RuntimeError):  # the call's loop is closed: the call is over
            self._loop.call_soon_threadsafe(self._participants.leave_when_empty)


class TurnReports:
    """Reports each turn that the ledger closes: to the log, to metrics, to traces, and to the room."""

    def __init__(self, ctx: JobContext, budget: Budget, clock: Clock) -> None:
        self._room = ctx.room
        self._budget = budget
        self._clock = clock
        self._trace = otel_context.get_current()
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio keeps only weak references

    def closed(self, turn: Turn) -> None:
        """The ledger has closed ``turn``."""
        log.info("%s", TurnLogLine(self._room.name, turn))
        metrics.count_turn(turn, self._budget)
        metrics.trace_turn(turn, self._trace, self._clock)
        self.spawn(ledger_publisher.send_turn(self._room, turn, self._budget))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the call; :meth:`settle` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until all that runs beside the call is done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


class TurnLogLine:
    """A turn for the log; the text is made only if it is written."""

    def __init__(self, room: str, turn: Turn) -> None:
        self._room, self._turn = room, turn

    def __str__(self) -> str:
        total = self._turn.voice_to_voice_ms
        heard = "no voice-to-voice time" if total is None else f"{total:.0f} ms"
        return f"room {self._room} turn {self._turn.id}: {metrics.outcome(self._turn)}, {heard}"


class UserInput:
    """What a user does in a room besides speaking. ``spawn`` runs a coroutine beside the call."""

    def __init__(self, session: AgentSession[Any], spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._session = session
        self._spawn = spawn

    async def chat(self, session: Any, event: room_io.TextInputEvent) -> None:
        """Typed text. An answer that is being spoken is interrupted, as by a spoken turn."""
        if text := event.text.strip()[:MAX_CHAT]:
            await self._ask(text)

    def keys(self, typed: str) -> None:
        """Keys pressed on a phone."""
        self._spawn(self._ask(f"(keys pressed on the phone) {typed}"))

    async def interrupt(self, data: rtc.RpcInvocationData) -> str:
        """The page's button. Only the participant that the agent listens to may press it."""
        linked = self._session.room_io.linked_participant
        if linked is None or linked.identity != data.caller_identity:
            raise rtc.RpcError(403, "only the participant who is heard may interrupt")
        await self._session.interrupt()
        return ""

    async def _ask(self, text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the session is closing, or an uninterruptible speech is on
            await self._session.interrupt()
        with contextlib.suppress(RuntimeError):
            self._session.generate_reply(user_input=text)


@contextlib.asynccontextmanager
async def open_call(
    ctx: JobContext,
    config: Config,
    models: ModelPool,
    *,
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    hooks: PipelineHooks | None = None,
    clock: Clock = SYSTEM,
) -> AsyncIterator[RoomCall]:
    """Join the room of ``ctx`` and talk in it until the block ends. ``config`` has the job's metadata in it already."""
    reports = TurnReports(ctx, Budget.from_config(config.budget), clock)
    connecting = asyncio.create_task(ctx.connect())
    async with (
        open_session(
            config, on_turn=reports.closed, tools=tools, mcp=mcp, shared=models, hooks=hooks, clock=clock
        ) as pipeline,
        contextlib.AsyncExitStack() as ending,
    ):
        await connecting
        room, session = ctx.room, pipeline.session
        route_room(room)
        published = _publish(ctx, pipeline, clock, ending)
        ending.push_async_callback(reports.settle)
        ending.callback(pipeline.ledger.close)
        user = UserInput(session, reports.spawn)
        if config.room.dtmf == "text":
            ending.enter_context(keypad_of(room, session, user.keys, wait_s=config.room.dtmf_wait_s))
        await pipeline.start(
            room=room,
            room_options=_room_options(config, user, published, many_calls=models.under_load()),
            record=False,
            session_host=config.room.remote_session,
        )
        if not published and session.output.audio is not None:
            session.output.audio.on("playback_started", lambda _: pipeline.audible(clock.now()))
        skip_speaking_rate(session)
        room.on("connection_state_changed", lambda state: _log_connection(room.name, state))
        room.local_participant.register_rpc_method(RPC_INTERRUPT, user.interrupt)
        usage = asyncio.create_task(ledger_publisher.UsagePublisher(room).follow())
        ending.push_async_callback(_cancelled, usage)
        participants = Participants(
            room,
            session,
            empty_s=config.room.empty_s,
            on_empty=lambda: ctx.shutdown(reason="the room is empty"),
        )
        ending.callback(participants.close)
        yield RoomCall(participants)


def _publish(ctx: JobContext, pipeline: PipelineSession, clock: Clock, ending: contextlib.AsyncExitStack) -> bool:
    """Begin to publish our output; False where LiveKit's own must be used.

    ``ending`` then closes the session, and the output after it.
    """
    if not livekit_output.available():
        ending.push_async_callback(pipeline.session.aclose)
        return False
    output = RoomOutput(ctx.room, on_audible=pipeline.audible, on_gaps=pipeline.ledger.gaps, clock=clock)
    ending.push_async_callback(output.aclose)
    ending.push_async_callback(pipeline.session.aclose)
    publishing = asyncio.create_task(output.start())
    publishing.add_done_callback(lambda done: _end_if_not_published(ctx, done))
    ending.push_async_callback(_cancelled, publishing)
    pipeline.session.output.audio = output
    return True


def _room_options(config: Config, user: UserInput, published: bool, *, many_calls: bool) -> room_io.RoomOptions:
    theirs = room_io.AudioOutputOptions(track_publish_options=publish_options())
    return room_io.RoomOptions(
        audio_input=audio_input.options(config.room, many_calls=many_calls),
        audio_output=False if published else theirs,
        text_input=room_io.TextInputOptions(text_input_cb=user.chat),
        close_on_disconnect=False,  # participants may return; see Participants
    )


def _log_connection(room: str, state: rtc.ConnectionState.ValueType) -> None:
    """A network break: the native client reconnects by itself."""
    if state == rtc.ConnectionState.CONN_RECONNECTING:
        log.warning("room %s: the connection is broken; reconnecting", room)
    elif state == rtc.ConnectionState.CONN_CONNECTED:
        log.info("room %s: connected", room)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _end_if_not_published(ctx: JobContext, done: asyncio.Task[None]) -> None:
    """End a call whose voice cannot be heard, so that it does not look like one."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("room %s: the agent's track could not be published: %s", ctx.job.room.name, error)
        ctx.shutdown(reason="no track")
