"""Events of the native library, against the installed SDK; and an SDK that looks different."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto import ffi_pb2

from voice_agent.livekit_compat import ffi
from voice_agent.livekit_compat.ffi import route_events, route_room, start_library
from voice_agent.livekit_compat.symbols import Symbol

SAMPLE_RATE = 24_000


async def test_a_subscriber_that_asks_for_nothing_receives_everything() -> None:
    """Also when, a step of the loop later, somebody else on its thread makes a request."""
    route_events()
    client = FfiClient.instance
    queue = client.queue.subscribe()
    try:
        await asyncio.sleep(0)
        other, _ = request_of(source := rtc.AudioSource(SAMPLE_RATE, 1, 1000), subscribes=False)
        assert other is None
        frame, answer = ffi_pb2.FfiEvent(), ffi_pb2.FfiEvent()
        frame.audio_stream_event.stream_handle = 7
        answer.capture_audio_frame.async_id = 3_000_000
        client.queue.put(frame)
        client.queue.put(answer)
        got: list[Any] = []
        async with asyncio.timeout(5):
            while (
                not got or got[-1].capture_audio_frame.async_id != 3_000_000
            ):  # an earlier test may have its last words
                got.append(await queue.get())
        assert frame in got
    finally:
        client.queue.unsubscribe(queue)
    await source.aclose()


def request_of(source: rtc.AudioSource, *, subscribes: bool = True) -> tuple[Any, int]:
    """Ask the library to play 10 ms; the queue of who waits for the answer (None: nobody), and the request's number."""
    pcm = np.ones(SAMPLE_RATE // 100, np.int16)
    message = ffi_pb2.FfiRequest()
    message.capture_audio_frame.source_handle = source._ffi_handle.handle
    frame = rtc.AudioFrame(pcm.tobytes(), SAMPLE_RATE, 1, len(pcm))
    message.capture_audio_frame.buffer.CopyFrom(frame._proto_info())
    queue = FfiClient.instance.queue.subscribe() if subscribes else None
    return queue, FfiClient.instance.request(message).capture_audio_frame.async_id


async def test_an_answer_goes_to_its_request_alone() -> None:
    route_events()
    client = FfiClient.instance
    source = rtc.AudioSource(SAMPLE_RATE, 1, 1000)

    first, second = request_of(source), request_of(source)
    try:
        for queue, number in (first, second):
            # Until its request has a number, a queue receives the answers to others.
            while (await asyncio.wait_for(queue.get(), 5)).capture_audio_frame.async_id != number:
                pass
        later, number = request_of(source)
        client.queue.unsubscribe(later)
        other = ffi_pb2.FfiEvent()
        other.send_text.async_id = number + 1_000_000  # another call's word
        client.queue.put(other)
        await asyncio.sleep(0.1)
        assert [queue.qsize() for queue, _ in (first, second)] == [0, 0]
    finally:
        for queue, _ in (first, second):
            client.queue.unsubscribe(queue)
        await source.aclose()


async def test_a_rooms_events_go_to_that_room_and_a_streams_frames_to_that_stream() -> None:
    route_events()
    ffi = FfiClient.instance.queue
    rooms = [SimpleNamespace(_ffi_queue=ffi.subscribe(None, lambda _: True), _ffi_handle=SimpleNamespace(handle=n))
             for n in (11_000_001, 11_000_002)]  # fmt: skip
    for room in rooms:
        route_room(cast("rtc.Room", room))
    try:
        mine, published, everybodys = ffi_pb2.FfiEvent(), ffi_pb2.FfiEvent(), ffi_pb2.FfiEvent()
        mine.room_event.room_handle = 11_000_001
        published.publish_track.async_id = 12_000_000
        everybodys.rpc_method_invocation.invocation_id = 13_000_000
        frame = ffi_pb2.FfiEvent()
        frame.audio_stream_event.stream_handle = 11_000_001
        for event in (mine, published, everybodys, frame):
            ffi.put(event)
        await asyncio.sleep(0.1)
        told = [[room._ffi_queue.get_nowait() for _ in range(room._ffi_queue.qsize())] for room in rooms]
        assert told == [[mine, published, everybodys], [published, everybodys]]
    finally:
        for room in rooms:
            ffi.unsubscribe(room._ffi_queue)
    ffi.put(mine)
    await asyncio.sleep(0.05)
    assert [room._ffi_queue.qsize() for room in rooms] == [0, 0]


QUIET = """
import asyncio, time
from livekit import rtc
from livekit.rtc import _ffi_client
lines = []
_ffi_client.to_python_level = lambda level: lines.append(level)
from voice_agent.livekit_compat.ffi import start_library
start_library()
time.sleep(1.5)  # what was on its way
lines.clear()

async def main():
    source = rtc.AudioSource(24000, 1, 200)
    try:
        await rtc.Room().connect("ws://127.0.0.1:9", "x")
    except rtc.ConnectError:
        pass
    await source.aclose()
    await asyncio.sleep(1.5)

asyncio.run(main())
print(len(lines))
"""


@pytest.mark.parametrize("debug", [False, True])
def test_the_librarys_log_lines_come_to_python_only_with_the_debug_switch(debug: bool) -> None:
    """In a process of its own: the library reads RUST_LOG once."""
    env = {k: v for k, v in os.environ.items() if k not in ("RUST_LOG", "LIVEKIT_RTC_DEBUG")}
    env |= {"LIVEKIT_RTC_DEBUG": "1"} if debug else {}
    done = subprocess.run([sys.executable, "-c", QUIET], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (int(done.stdout.split()[-1]) > 0) is debug
    assert ("WARN" in done.stderr) is not debug  # what goes wrong is told all the same


SILENT = """
import asyncio
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from voice_agent.config import Secret, load
from voice_agent.errors import ModelError
from voice_agent.room.access import LiveKitAccess
from voice_agent.room.worker import Worker
found = []

async def main():
    try:
        access = LiveKitAccess("ws://127.0.0.1:9", "key", Secret("secret"))
        await Worker(load(flags={"stt.model": "/nowhere"}), access).run()
    except ModelError:
        pass  # the library has been started before the models are looked for
    # A filter is called on the thread of the library that brings the event.
    FfiClient.instance.queue.subscribe(filter_fn=lambda e: bool(found.append(float("1e-310") * float("0.5"))))
    try:
        await rtc.Room().connect("ws://127.0.0.1:9", "x")
    except rtc.ConnectError:
        pass

asyncio.run(main())
print(max(found), float("1e-310") * float("0.5"))
"""


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="x86 alone needs it")
def test_the_librarys_threads_in_a_worker_flush_subnormal_numbers() -> None:
    """In a process of its own: threads have what the one has that starts the library."""
    env = {k: v for k, v in os.environ.items() if k not in ("RUST_LOG", "LIVEKIT_RTC_DEBUG")}
    done = subprocess.run([sys.executable, "-c", SILENT], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["0.0", "5e-311"]


def patched() -> tuple[Any, ...]:
    """What :func:`route_events` replaces, as it is now."""
    queue = FfiClient.instance.queue
    return queue.put, queue.subscribe, queue.unsubscribe, FfiClient.instance.request, rtc.AudioStream.__init__


@pytest.mark.parametrize("symbol", [ffi.FFI_CLIENT, *ffi.ROUTING], ids=str)
def test_an_sdk_that_lacks_a_part_is_left_alone(
    symbol: Symbol,
    without: Callable[[Symbol], None],
    warnings: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ffi, "_router", None)
    client = FfiClient.instance
    before = dict(vars(client)), dict(vars(client.queue))
    without(symbol)
    init = rtc.AudioStream.__init__
    route_events()
    route_events()
    told = warnings()
    assert any(f"has no {symbol}: " in message for message in told)
    assert len(told) == len(set(told))
    assert (vars(client), vars(client._queue)) == before
    assert rtc.AudioStream.__init__ is init


@pytest.mark.parametrize("kind", ["audio_stream_event", "room_event"])
def test_an_event_that_does_not_say_whose_it_is_is_left_alone(
    kind: str, warnings: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffi, "_router", None)
    monkeypatch.setitem(ffi.HANDLES, kind, "renamed")
    before = patched()
    route_events()
    assert patched() == before
    assert warnings() == [f"livekit's event {kind} has no renamed: with many calls, each is woken by the events of all"]


@pytest.mark.parametrize("lost", [None, ffi.FFI_LIB, ffi.FFI_CALLBACK], ids=str)
def test_the_librarys_log_is_redirected_only_where_the_sdk_has_its_parts(
    lost: Symbol | None,
    without: Callable[[Symbol], None],
    warnings: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUST_LOG", "error")
    monkeypatch.delenv("LIVEKIT_RTC_DEBUG", raising=False)
    asked: list[Any] = []
    library = SimpleNamespace(livekit_ffi_initialize=lambda *args: asked.append(args))
    monkeypatch.setattr(FfiClient.instance, "_ffi_lib", library)
    if lost is not None:
        without(lost)
    start_library()
    assert [args[1:3] for args in asked] == ([(False, b"python")] if lost is None else [])
    assert len(warnings()) == (lost is not None)
