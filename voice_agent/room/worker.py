"""The worker: LiveKit's AgentServer, with the models loaded once and every call on a thread of its own.

    worker = Worker(config, access)
    asyncio.run(until_signal(worker, (signal.SIGINT, signal.SIGTERM)))

Why threads, and not a process a call: docs/rooms.md, with figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from livekit import api
from livekit.agents import AgentServer, JobContext, JobExecutorType, JobRequest, tokenize
from livekit.agents.telemetry.loop_monitor import ENV_WARN_THRESHOLD_MS
from livekit.agents.utils.hw import get_cpu_monitor
from livekit.agents.worker import ServerEnvOption

from ..clock import SYSTEM, Clock
from ..config import Config, environment_default
from ..errors import VoiceAgentError
from ..livekit_compat.ffi import route_events, start_library
from ..livekit_compat.startup import check as check_dependencies
from ..pipeline.hooks import PipelineHooks
from ..pipeline.model_loader import Progress, load_models
from ..pipeline.model_pool import ModelPool
from ..runtime.gc import startup_objects_frozen
from .access import LiveKitAccess
from .call import RoomCall, open_call
from .job import Job
from .metadata import configured
from .worker_load import LoadMonitor

log = logging.getLogger("voice_agent.room")

FULL = 0.999
"""LiveKit refuses calls from this load on; :func:`voice_agent.room.worker_load.load` gives 1 for a full machine."""
REPORTED_BELOW_FULL = 0.69
"""A LiveKit server sends no call to a worker whose load has reached its ``agents.target_load``, 0.7 by default, even to
the only one, and does not try again (livekit-server 1.13.5, JobRequestAffinity): the room stays without an agent."""
IDLE_THREADS = 2
SWITCH_S = 0.001
"""How long one Python thread may keep the others waiting; Python's own 5 ms add up over several calls."""


def reported_load(load: float, limited: bool) -> float:
    """What is reported to the server of our ``load`` (0 to 1): below its target as long as a call can be taken; with
    ``limited`` False, always."""
    return 1.0 if limited and load >= FULL else load * REPORTED_BELOW_FULL


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the worker serves its health (``port``) and its metrics (``metrics_port``; None: not)."""

    host: str = "127.0.0.1"
    port: int = 8081
    metrics_port: int | None = None


class Worker:
    """Takes calls. ``agent_name`` "" joins every new room; a name waits to be dispatched.

    ``room``: join this one room only, whether or not there is anybody, and end with it. ``limited`` False takes calls
    without a limit, as LiveKit's ``dev`` does. ``tools`` as LiveKit's Agent takes them;
    ``mcp`` makes MCP servers for one call. ``hooks``: what is put between the stages of every call.
    """

    def __init__(
        self,
        config: Config,
        access: LiveKitAccess,
        *,
        agent_name: str = "",
        room: str | None = None,
        listen: Listen | None = None,
        limited: bool = True,
        tools: Sequence[Any] = (),
        mcp: Callable[[], Sequence[Any]] = tuple,
        hooks: PipelineHooks | None = None,
        progress: Progress = lambda _: None,
        clock: Clock = SYSTEM,
    ) -> None:
        listen = listen or Listen()
        self.config = config
        self.models: ModelPool | None = None
        self._progress = progress
        self._tools, self._mcp, self._hooks = tools, mcp, hooks
        self._clock = clock
        self._limited = limited
        self._room = room
        self._access = access
        self._started = asyncio.Event()
        self._held: set[RoomCall] = set()
        self._watching: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.cores = get_cpu_monitor().cpu_count()
        self.server = AgentServer(
            job_executor_type=JobExecutorType.THREAD,
            load_fnc=lambda: 0.0,  # until the models are loaded
            load_threshold=FULL if limited else math.inf,
            num_idle_processes=IDLE_THREADS,
            drain_timeout=config.room.drain_s,
            ws_url=access.url,
            api_key=access.api_key,
            api_secret=access.api_secret.reveal(),
            host=listen.host,
            port=listen.port,
            prometheus_port=listen.metrics_port,
            max_retry=sys.maxsize,  # retry for ever, at most every 10 s: a server may be away
            log_level=ServerEnvOption("INFO", "INFO"),
        )
        self.server.rtc_session(self._entry, agent_name=agent_name, on_request=self._request)
        self.server.on("worker_registered", self._registered)
        self.server.on("worker_started", self._started.set)

    @property
    def calls(self) -> int:
        """How many calls run."""
        return len(self.server.active_jobs)

    @property
    def active_calls(self) -> int:
        """Calls that cost something: all but those that wait in a room that everybody has left."""
        held = tuple(self._held)
        return max(0, self.calls - sum(not one.any_present for one in held))

    @property
    def max_calls(self) -> int:
        """How many calls this machine carries when nothing else runs on it."""
        most = max(1, int(self.config.room.calls_per_core * self.cores))
        return min(most, self.config.room.max_calls or most)

    async def registered(self) -> None:
        """Return once the server knows this worker."""
        await self._ready.wait()

    async def run(self, ended: asyncio.Event | None = None) -> None:
        """Load the models, then take calls until ``ended`` is set.

        Then it takes no more, and the running ones may end by themselves for ``room.drain_s`` at most (with ``limited``
        False they end at once).

        Raises DependencyError, ModelError, ConfigError, ProviderError before anything is joined.
        """
        check_dependencies()
        ended = ended or asyncio.Event()
        sys.setswitchinterval(SWITCH_S)
        start_library()
        route_events()
        # LiveKit's monitor of event loops wakes two threads a call 50 times a second; set the variable to have it.
        environment_default(ENV_WARN_THRESHOLD_MS, "0")
        async with load_models(self.config, calls=self.max_calls, progress=self._progress, clock=self._clock) as models:
            self._progress(f"connecting to {models.endpoint.label}")
            await models.choose_model()
            for note in models.notes:
                self._progress(note)
            self.models = models
            # The first reply would load it: 0.1 s in which no other call gets on, and once a thread.
            await asyncio.get_running_loop().run_in_executor(None, tokenize.basic.hyphenate_word, "")
            with startup_objects_frozen():
                await self._serve(models, ended)

    async def _serve(self, models: ModelPool, ended: asyncio.Event) -> None:
        machine = LoadMonitor(self.config.room, self.cores, lambda: self.active_calls, models.scheduler.urgent_wait_s)
        self.server.load_fnc = lambda: reported_load(machine.load(), self._limited)
        running = asyncio.create_task(self.server.run(devmode=not self._limited, unregistered=self._room is not None))
        ending = asyncio.create_task(ended.wait())
        try:
            if self._room is not None:
                await self._join(self._room, ended)
            await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
            if ended.is_set() and self._limited:
                await self._drain()
        finally:
            ending.cancel()
            if self._watching is not None:
                self._watching.cancel()
            await self.server.aclose()
            await asyncio.gather(running, ending, return_exceptions=True)
            self.models = None
        if running.done() and not running.cancelled() and (error := running.exception()) is not None:
            raise error

    async def _join(self, room: str, ended: asyncio.Event) -> None:
        """Join without being dispatched; ``ended`` is set when the call is over."""
        access = self._access
        async with api.LiveKitAPI(access.url, access.api_key, access.api_secret.reveal()) as livekit:
            found = await livekit.room.create_room(api.CreateRoomRequest(name=room))  # an existing room stays as it is
        await self._started.wait()
        await self.server.simulate_job(room, agent_identity=f"agent-{found.sid}", room_info=found)
        self._progress(f"joining {room}")
        self._ready.set()

        async def over() -> None:
            while self.calls:  # noqa: ASYNC110  # LiveKit has no event for it
                await asyncio.sleep(0.5)
            ended.set()

        self._watching = asyncio.create_task(over())

    async def _drain(self) -> None:
        self._progress(f"ending: no new calls; {self.calls} still running, {self.config.room.drain_s} s at most")
        draining = asyncio.create_task(self.server.drain())
        await asyncio.sleep(0)  # it first reports this to the server, which then sends no more calls
        for held in tuple(self._held):
            held.worker_ends()
        try:
            await draining
        except TimeoutError:
            self._progress(f"{self.calls} calls were still running and are ended now")

    def _registered(self, worker_id: str, info: Any) -> None:
        self._progress(f"registered as {worker_id}; waiting for calls, {self.max_calls} at most")
        self._ready.set()

    async def _request(self, request: JobRequest) -> None:
        """A call is offered. What cannot be held is refused, so that no caller waits in a silent room."""
        try:
            asked = configured(self.config, request.job.metadata)
            assert self.models is not None
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self.models.engine, asked.stt.language)
            await loop.run_in_executor(None, self.models.voice, asked.tts.voice)
        except VoiceAgentError as e:
            log.error("room %s: refused: %s", request.room.name, e)
            await request.reject(terminate=True)  # another worker would find the same
            return
        await request.accept(name="voice-agent")

    async def _entry(self, ctx: JobContext) -> None:
        """LiveKit calls this on the call's own thread and loop; it returns once the call is under way."""
        await Job(ctx, lambda: self._open(ctx), self._held, lambda: self.server.draining).start()

    def _open(self, ctx: JobContext) -> AbstractAsyncContextManager[RoomCall]:
        """Raises ConfigError for metadata that is not allowed."""
        assert self.models is not None
        return open_call(
            ctx,
            configured(self.config, ctx.job.metadata),
            self.models,
            tools=self._tools,
            mcp=self._mcp(),
            hooks=self._hooks,
            clock=self._clock,
        )


async def until_signal(worker: Worker, signals: Sequence[int]) -> None:
    """Run until one of ``signals`` comes; a second one ends the calls at once."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    task = asyncio.current_task()
    assert task is not None

    def caught() -> None:
        if ended.is_set():
            task.cancel()
        ended.set()

    for number in signals:
        loop.add_signal_handler(number, caught)
    with contextlib.suppress(asyncio.CancelledError):
        await worker.run(ended)
