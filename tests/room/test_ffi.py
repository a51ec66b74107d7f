from __future__ import annotations

import asyncio

import numpy as np
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto import ffi_pb2

from voice_agent.room.ffi import narrow_audio
from voice_agent.room.output import SAMPLE_RATE, KeepingSource


async def test_who_waits_for_an_answer_is_not_woken_by_audio() -> None:
    narrow_audio()
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
