"""Many calls in one process without each hearing of all the others.

LiveKit's Python SDK (1.1.21) hands every event of the native library to every subscriber whose filter lets it through,
and the filters ask for the kind of an event, not for whose it is: with N calls, each of the N event loops is woken for
each audio frame of all N, and for each piece of sound that any of them hands on. For one call a process, as LiveKit
runs them, this does not matter. Here the filters are made to ask whose it is. Nothing else changes, and where the SDK
looks different, nothing at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient  # no public name (1.1.21)

_narrowed = False


_FRAMES = ("audio_stream_event", "video_stream_event")


def narrow_audio() -> None:
    """From now on frames are told to the ``rtc.AudioStream`` that they belong to, and to nobody else: not to the other
    streams, and not to who waits for the answer to a request. For this process; once is enough."""
    global _narrowed
    if _narrowed:
        return
    _narrowed = True
    ffi = FfiClient.instance.queue
    subscribe = ffi.subscribe

    def narrower(loop: asyncio.AbstractEventLoop | None = None, filter_fn: Callable[[Any], bool] | None = None) -> Any:
        return subscribe(loop, filter_fn or (lambda e: e.WhichOneof("message") not in _FRAMES))

    ffi.subscribe = narrower
    original = rtc.AudioStream.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        queue, handle = getattr(self, "_ffi_queue", None), getattr(getattr(self, "_ffi_handle", None), "handle", None)
        if queue is not None and handle is not None:
            _narrow(
                queue,
                lambda e: (
                    e.WhichOneof("message") == "audio_stream_event" and e.audio_stream_event.stream_handle == handle
                ),
            )

    rtc.AudioStream.__init__ = init  # type: ignore[method-assign]


def narrow_room(room: rtc.Room) -> None:
    """A connected room is not told of other rooms' events, nor that a piece of sound has been taken: both are many.

    The answers to other requests stay: a room waits for some of its own (``publish_track``) in its queue.
    """
    queue, handle = getattr(room, "_ffi_queue", None), getattr(getattr(room, "_ffi_handle", None), "handle", None)
    if queue is None or handle is None:
        return

    def own(event: Any) -> bool:
        kind = event.WhichOneof("message")
        if kind == "room_event":
            return bool(event.room_event.room_handle == handle)
        return kind not in (*_FRAMES, "capture_audio_frame")

    _narrow(queue, own)


def _narrow(queue: Any, own: Callable[[Any], bool]) -> None:
    ffi = FfiClient.instance.queue
    with ffi._lock:
        for i, (subscribed, loop, _) in enumerate(ffi._subscribers):
            if subscribed is queue:
                ffi._subscribers[i] = (subscribed, loop, own)
