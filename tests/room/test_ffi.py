from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto import ffi_pb2

from voice_agent.room.ffi import narrow_events
from voice_agent.room.output import SAMPLE_RATE, KeepingSource


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
            assert (await asyncio.wait_for(queue.get(), 5)).capture_audio_frame.async_id == number
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
