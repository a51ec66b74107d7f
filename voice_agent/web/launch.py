"""``voice-agent web``: starts a LiveKit server (unless one is set), the worker and the page; ends all together."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from ..clock import SYSTEM, Clock
from ..config import Config, WebConfig, child_environment, provider_key
from ..errors import ConfigError, UsageError
from ..room.access import URL, LiveKitAccess, find_access, websocket_url
from . import livekit_server
from .children import Child
from .guard import check_binding, is_loopback
from .server import Page
from .tokens import TokenIssuer

WORKER = (sys.executable, "-m", "voice_agent.cli", "room", "start", "--port", "0")
WORKER_READY = re.compile(r"^registered as ")  # printed by `voice-agent room` when the server has accepted it
WORKER_READY_S = 120.0
STOP_WORKER_S, STOP_SERVER_S = 8.0, 2.0  # the server alone would wait until the browsers leave

Say = Callable[[str], None]


@dataclass(slots=True)
class Running:
    """What runs. ``address``: of the page; ``children``: in the order in which they were started."""

    address: str
    access: LiveKitAccess
    children: list[Child] = field(default_factory=list)

    async def child_ended(self) -> Child:
        """Wait until one of the children has ended; returns it. Without children, wait forever."""
        if not self.children:
            await asyncio.Event().wait()
        waiting = {asyncio.ensure_future(child.ended()): child for child in self.children}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return waiting[done.pop()]
        finally:
            for task in waiting:
                task.cancel()


@contextlib.asynccontextmanager
async def running(
    config: Config,
    *,
    say: Say = lambda _: None,
    log: Say = lambda _: None,
    worker: Sequence[str] | None = WORKER,
    clock: Clock = SYSTEM,
) -> AsyncIterator[Running]:
    """Start everything; the end of the block stops it in the reverse order.

    ``worker``: the command of the worker, to which the agent's name is added; None: the worker runs elsewhere
    (``web.agent_name``). ``say`` gets messages for the user, ``log`` the output of the children. Raises ConfigError or
    UsageError for a missing setting or program, ChildError for a child that does not start.
    """
    settings = config.web
    check_binding(settings)
    async with contextlib.AsyncExitStack() as stack:
        access = find_access() if provider_key(URL) is not None else None
        children: list[Child] = []
        if access is None:
            if worker is None:
                raise UsageError("--no-worker: say with LIVEKIT_URL which server the worker elsewhere uses")
            if not is_loopback(settings.host):
                raise ConfigError(
                    f"web.host = {settings.host!r}: callers from elsewhere cannot reach a livekit-server on loopback;"
                    " set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET of one that they can reach"
                )
            binary = livekit_server.find(config.livekit.server)
            say(f"starting {binary.name} on loopback")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voice-agent-web-")))
            server, access = await livekit_server.start(binary, folder, on_line=log)
            stack.push_async_callback(server.stop, STOP_SERVER_S)
            children.append(server)
        else:
            say(f"using the LiveKit server at {access.url}")
        agent_name = settings.agent_name
        if worker is not None:
            # A random name: on a shared server this worker gets the calls of this page and no others.
            agent_name = agent_name or f"voice-agent-web-{secrets.token_hex(4)}"
            say("starting the agent (it loads its models)")
            child = await _start_worker([*worker, "--agent-name", agent_name], config, access, log)
            stack.push_async_callback(child.stop, STOP_WORKER_S)
            children.append(child)
            await _ready(child, say)
        seen_by_browsers = (
            websocket_url(settings.livekit_url, "web.livekit_url") if settings.livekit_url else access.url
        )
        issuer = TokenIssuer(access, agent_name=agent_name, ttl_s=settings.token_ttl_s, ledger=settings.ledger)
        page = Page(settings, issuer, seen_by_browsers, clock)
        address = await _serve(stack, page.application(), settings.host, settings.port)
        yield Running(address, access, children)


async def run(config: Config, *, say: Say, log: Say = lambda _: None, worker: Sequence[str] | None = WORKER) -> int:
    """Run until Ctrl-C or SIGTERM (returns 0), or until a child ends (raises ChildError, after all are down)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    up = asyncio.create_task(_run(config, say, log, worker))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({up, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if stop.is_set():
        say("stopping")
        up.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await up
    return 0


async def _run(config: Config, say: Say, log: Say, worker: Sequence[str] | None) -> None:
    async with running(config, say=say, log=log, worker=worker) as r:
        say(f"\n  Call the agent: {r.address}\n  Ctrl-C ends everything.\n")
        raise (await r.child_ended()).failure()


async def _start_worker(command: Sequence[str], config: Config, access: LiveKitAccess, log: Say) -> Child:
    # When the page ends, its calls end too: no waiting as in a worker among many.
    room = dataclasses.replace(config.room, drain_s=0)
    env = child_environment(
        dataclasses.replace(config, room=room, web=WebConfig()),  # the worker does not need the page's secret
        {**access.environment(), "PYTHONUNBUFFERED": "1"},
    )
    return await Child.start("the agent's worker", command, env, on_line=log, ready=WORKER_READY)


async def _ready(child: Child, say: Say) -> None:
    """Wait until the worker takes calls. If it is late, go on: the page explains that the agent is missing."""
    ended, ready = asyncio.ensure_future(child.ended()), asyncio.ensure_future(child.ready.wait())
    try:
        await asyncio.wait({ended, ready}, timeout=WORKER_READY_S, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise child.failure()
        if not ready.done():
            say(f"the agent has not reported within {WORKER_READY_S:.0f} s; going on without waiting for it")
    finally:
        ended.cancel()
        ready.cancel()


async def _serve(stack: contextlib.AsyncExitStack, app: web.Application, host: str, port: int) -> str:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as e:
        raise UsageError(
            f"the page cannot be served at {host}:{port} ({e.strerror}); choose another port with --port"
        ) from e
    bound = runner.addresses[0][1]
    shown = "localhost" if host in ("127.0.0.1", "localhost", "::1") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{bound}/"


__all__ = ["WORKER", "Running", "run", "running"]
