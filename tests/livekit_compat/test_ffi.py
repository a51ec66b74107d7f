from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto import ffi_pb2

from voice_agent.livekit_compat.ffi import narrow_events, narrow_room
from voice_agent.livekit_compat.output import SAMPLE_RATE, KeepingSource


async def test_who_waits_for_an_answer_is_not_woken_by_audio() -> None:
    narrow_events()
    ffi = FfiClient.instance.queue
    queue = ffi.subscribe()
    try:
        frame, answer = ffi_pb2.FfiEvent(), ffi_pb2.FfiEvent()
        frame.audio_stream_event.stream_handle = 7
        answer.capture_audio_frame.async_id = 3
        ffi.put(frame)
        ffi.put(answer)
        got = [await asyncio.wait_for(queue.get(), 5)]
        while got[-1].capture_audio_frame.async_id != 3:  # a room of an earlier test may have its last words
            got.append(await asyncio.wait_for(queue.get(), 5))
        while not queue.empty():
            got.append(queue.get_nowait())
        assert "audio_stream_event" not in [event.WhichOneof("message") for event in got]
    finally:
        ffi.unsubscribe(queue)


async def test_an_answer_is_told_to_who_asked_and_to_nobody_else() -> None:
    narrow_events()
    client = FfiClient.instance
    source = rtc.AudioSource(SAMPLE_RATE, 1, 1000)

    def ask() -> tuple[Any, int]:
        pcm = np.ones(SAMPLE_RATE // 100, np.int16)
        message = ffi_pb2.FfiRequest()
        message.capture_audio_frame.source_handle = source._ffi_handle.handle
        message.capture_audio_frame.buffer.CopyFrom(
            rtc.AudioFrame(pcm.tobytes(), SAMPLE_RATE, 1, len(pcm))._proto_info()
        )
        queue = client.queue.subscribe()
        return queue, client.request(message).capture_audio_frame.async_id

    first, second = ask(), ask()
    try:
        for queue, number in (first, second):
            # Until its request has been answered with a number, a queue hears the answers to others.
            while (await asyncio.wait_for(queue.get(), 5)).capture_audio_frame.async_id != number:
                pass
        later, number = ask()
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


async def test_only_who_it_belongs_to_is_told_of_a_room_s_events_and_a_stream_s_frames() -> None:
    narrow_events()
    ffi = FfiClient.instance.queue
    rooms = [SimpleNamespace(_ffi_queue=ffi.subscribe(None, lambda _: True), _ffi_handle=SimpleNamespace(handle=n))
             for n in (11_000_001, 11_000_002)]  # fmt: skip
    for room in rooms:
        narrow_room(cast("rtc.Room", room))
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
def test_the_library_s_lines_come_to_python_only_where_they_are_asked_for(debug: bool) -> None:
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
from voice_agent.room.access import Access
from voice_agent.room.worker import Worker
found = []

async def main():
    try:
        await Worker(load(flags={"stt.model": "/nowhere"}), Access("ws://127.0.0.1:9", "key", Secret("secret"))).run()
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
def test_a_worker_s_threads_of_the_library_take_subnormal_numbers_for_zero() -> None:
    """In a process of its own: threads have what the one has that starts the library."""
    env = {k: v for k, v in os.environ.items() if k not in ("RUST_LOG", "LIVEKIT_RTC_DEBUG")}
    done = subprocess.run([sys.executable, "-c", SILENT], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["0.0", "5e-311"]


async def sound(source: KeepingSource, ms: int) -> None:
    pcm = np.ones(SAMPLE_RATE * ms // 1000, np.int16)
    await source.capture_frame(rtc.AudioFrame(pcm.tobytes(), SAMPLE_RATE, 1, len(pcm)))


async def test_a_pause_gives_back_what_it_threw_away() -> None:
    again: list[float] = []
    paused = [True]
    source = KeepingSource(SAMPLE_RATE, 1, 200, paused=lambda: paused[0], on_again=again.append)
    await sound(source, 150)
    source.clear_queue()
    assert again == []
    await sound(source, 20)
    assert len(again) == 1
    assert 0 < again[0] <= 0.15
    await sound(source, 20)  # once is enough
    source.clear_queue()
    source.forget()  # an interruption
    await sound(source, 20)
    paused[0] = False
    source.clear_queue()
    await sound(source, 20)
    assert len(again) == 1
    await source.aclose()
