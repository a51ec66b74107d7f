"""A worker in this process, on a thread of its own, and callers who speak recordings to it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.livekit_server import LiveKitServer, livekit_server
from voice_agent.audio.files import read_audio
from voice_agent.audio.resampling import resample
from voice_agent.audio.samples import Int16
from voice_agent.config import Config, LlmConfig, RoomConfig, Secret, SttConfig
from voice_agent.llm.local.sim import SimServer
from voice_agent.llm.sim_spec import parse_spec
from voice_agent.pipeline.model_pool import ModelPool
from voice_agent.room.access import LEDGER_TOPIC, USAGE_TOPIC, LiveKitAccess
from voice_agent.room.worker import Listen, Worker
from voice_agent.testing.harness.agent_audio import RATE
from voice_agent.testing.harness.room_caller import Caller, token

__all__ = ["livekit_server"]

AGENT = "room-tests"
CONFIG = Config(
    stt=SttConfig(model="tiny.en"),
    llm=LlmConfig(spec="sim:ttft=170ms,tps=2314"),
    room=RoomConfig(empty_s=1.0, dtmf_wait_s=0.4),
)
_number = itertools.count()


@dataclass(slots=True)
class Heard:
    """A caller and what was written to them: transcripts by speaker, rows of the ledger."""

    caller: Caller
    said: list[tuple[str, str, bool]] = field(default_factory=list)  # identity, text, final
    rows: list[dict[str, Any]] = field(default_factory=list)
    usages: list[dict[str, Any]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def attach(self) -> None:
        room = self.caller.room
        room.register_text_stream_handler("lk.transcription", self._transcript)
        room.register_text_stream_handler(LEDGER_TOPIC, lambda reader, _: self._json(reader, self.rows))
        room.register_text_stream_handler(USAGE_TOPIC, lambda reader, _: self._json(reader, self.usages))
        room.on("participant_attributes_changed", self._attributes)

    def _attributes(self, changed: dict[str, str], who: Any) -> None:
        if state := changed.get("lk.agent.state"):
            self.states.append(state)

    def _transcript(self, reader: Any, who: str) -> None:
        async def read() -> None:
            text = await reader.read_all()
            self.said.append((who, text, (reader.info.attributes or {}).get("lk.transcription_final") == "true"))

        self._spawn(read())

    def _json(self, reader: Any, into: list[dict[str, Any]]) -> None:
        async def read() -> None:
            into.append(json.loads(await reader.read_all()))

        self._spawn(read())

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def until(self, true: Callable[[], object], within_s: float = 10.0) -> None:
        """Wait for something to come true; fail if it does not."""
        began = self.caller.now_s()
        while not true():
            assert self.caller.now_s() - began < within_s, "it did not come true in time"
            await asyncio.sleep(0.02)


Join = Callable[..., AbstractAsyncContextManager[Heard]]


class Running:
    """The worker and its thread."""

    def __init__(self, server: LiveKitServer, config: Config = CONFIG) -> None:
        access = LiveKitAccess(server.url, server.key, Secret(server.secret))
        self.notes: list[str] = []
        self.worker = Worker(
            config, access, agent_name=AGENT, listen=Listen(port=0), limited=False, progress=self.notes.append
        )
        self.error: BaseException | None = None
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._registered = threading.Event()
        self._thread = threading.Thread(target=self._main, name="worker under test")
        self._thread.start()

    @property
    def models(self) -> ModelPool:
        assert self.worker.models is not None
        return self.worker.models

    def wait(self) -> None:
        assert self._registered.wait(90), f"the worker did not register: {self.error or self.notes}"
        assert self.error is None, self.error

    def end(self) -> None:
        if self._loop is not None and self._ended is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(60)
        assert not self._thread.is_alive(), "the worker did not end"

    def _main(self) -> None:
        async def go() -> None:
            self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
            running = asyncio.create_task(self.worker.run(self._ended))
            known = asyncio.create_task(self.worker.registered())
            await asyncio.wait({running, known}, return_when=asyncio.FIRST_COMPLETED)
            self._registered.set()
            known.cancel()
            await running

        try:
            asyncio.run(go())
        except BaseException as e:
            self.error = e
        finally:
            self._registered.set()


@pytest.fixture(scope="session")
def running(livekit_server: LiveKitServer) -> Iterator[Running]:
    """The worker that most tests share."""
    worker = Running(livekit_server)
    try:
        worker.wait()
        yield worker
    finally:
        worker.end()


@pytest.fixture
def join(livekit_server: LiveKitServer, running: Running) -> Join:
    """Join a new room (or ``room``) that the worker is sent to; the agent is there when the block begins.

    No two tests share a room, nor do two attempts at one: LiveKit sends an agent when a room is made, and keeps an
    empty one for a while, so who comes back too soon finds a room without an agent.
    """
    attempt = next(_number)

    @contextlib.asynccontextmanager
    async def joined(
        *, room: str | None = None, identity: str = "caller", wait: bool = True, agent: str | None = AGENT, **about: Any
    ) -> AsyncIterator[Heard]:
        room = f"{room or 'room'}-{next(_number) if room is None else attempt}"
        ticket = token(livekit_server.key, livekit_server.secret, room, identity=identity, agent_name=agent, **about)
        async with Caller.joined(livekit_server.url, ticket) as caller:
            heard = Heard(caller)
            heard.attach()
            if wait:
                assert await caller.agent_there(15), "no agent came"
            yield heard

    return joined


@dataclass(frozen=True, slots=True)
class Clip:
    pcm: Int16
    end_s: float
    text: str


@pytest.fixture(scope="session")
def clip(speech: Path) -> Callable[[str], Clip]:
    """A recorded sentence by name."""

    def load(name: str) -> Clip:
        audio = read_audio(speech / f"{name}.wav")
        about = json.loads((speech / f"{name}.json").read_text())
        return Clip(resample(audio.samples, audio.sample_rate, RATE), float(about["end_s"]), str(about["text"]))

    return load


async def ask(heard: Heard, said: Clip, within_s: float = 12.0) -> float | None:
    """Say it, and return how long after its end the agent was heard; None if it was not. In seconds."""
    caller = heard.caller
    assert await caller.quiet(0.8)
    caller.listen_from_now()
    end = caller.say(said.pcm) + said.end_s
    reply = await caller.reply(end + within_s)
    return None if reply is None else reply - end


def with_room(**changes: Any) -> Config:
    """The tests' configuration with other [room] settings."""
    return dataclasses.replace(CONFIG, room=dataclasses.replace(CONFIG.room, **changes))


class Provider:
    """A language model's address that can break: on the way to ``behind``, an OpenAI-compatible server."""

    def __init__(self, behind: str) -> None:
        self.base_url = ""
        self.broken: str | None = None
        """``500``: it answers that it failed; ``hang up``: it closes the connection; None: whole."""
        self.failed = 0
        self.asked: list[str] = []
        """The user's last words in each request."""
        self._behind = behind.removesuffix("/v1")

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Provider]:
        async with aiohttp.ClientSession() as self._http:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._pass)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            try:
                yield self
            finally:
                await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if self.broken is not None:
            self.failed += 1
            if self.broken == "hang up" and request.transport is not None:
                request.transport.close()
            return web.json_response({"error": {"message": "the model is ill"}}, status=500)
        url, body = f"{self._behind}{request.path_qs}", await request.read()
        if body:
            messages = json.loads(body)["messages"]
            self.asked.append(next(said["content"] for said in reversed(messages) if said["role"] == "user"))
        async with self._http.request(
            request.method, url, data=body, headers={"Content-Type": "application/json"}
        ) as got:
            answer = web.StreamResponse(status=got.status, headers={"Content-Type": got.headers["Content-Type"]})
            await answer.prepare(request)
            async for piece in got.content.iter_any():
                await answer.write(piece)
            return answer


@pytest.fixture
def long_answers(running: Running) -> Iterator[None]:
    """The calls that begin during the test get answers of more than half a minute."""
    whole = running.models.endpoint
    with SimServer(parse_spec("sim:ttft=170ms,tps=2314,reply=long")) as server:
        running.models.endpoint = dataclasses.replace(whole, base_url=server.base_url)
        try:
            yield
        finally:
            running.models.endpoint = whole


@pytest.fixture
async def provider(running: Running) -> AsyncIterator[Provider]:
    """The language model of the calls that begin during the test."""
    whole = running.models.endpoint
    async with Provider(whole.base_url).serving() as between:
        running.models.endpoint = dataclasses.replace(whole, base_url=between.base_url)
        try:
            yield between
        finally:
            running.models.endpoint = whole
