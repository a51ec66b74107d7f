"""Many calls in one process without each hearing of all the others.

LiveKit's Python SDK (1.1.21) hands every event of the native library to every subscriber whose filter lets it through,
and the filters ask for the kind of an event, not for whose it is: with N calls, each of the N event loops is woken for
each audio frame of all N, and for each piece of sound and each word that any of them hands on, once for every request
of its own that is still under way. With 8 calls each event went to 30 queues, 3,600 times a second (docs/rooms.md). For
one call a process, as LiveKit runs them, this does not matter. Here the filters are made to ask whose it is. Nothing
else changes, and where the SDK looks different, nothing at all.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient  # no public name (1.1.21)
from livekit.rtc._proto import ffi_pb2

_narrowed = False


_FRAMES = ("audio_stream_event", "video_stream_event")
_ANSWERS = frozenset(
    field.name
    for field in ffi_pb2.FfiEvent.DESCRIPTOR.fields
    if field.message_type is not None and "async_id" in field.message_type.fields_by_name
)
_NOT_FOR_ROOMS = (_ANSWERS | set(_FRAMES)) - {"publish_track", "unpublish_track"}  # those a room awaits in its queue


def narrow_events() -> None:
    """From now on frames are told to the ``rtc.AudioStream`` that they belong to, the answer to a request to who waits
    for it, and neither to anybody else but connected rooms (:func:`narrow_room`). For this process; once is enough."""
    global _narrowed
    if _narrowed:
        return
    _narrowed = True
    client = FfiClient.instance
    ffi, request = client.queue, client.request
    subscribe = ffi.subscribe
    asking = threading.local()

    def narrower(loop: asyncio.AbstractEventLoop | None = None, filter_fn: Callable[[Any], bool] | None = None) -> Any:
        if filter_fn is not None:
            return subscribe(loop, filter_fn)
        # Who waits for an answer subscribes without a filter, and asks in the next line.
        asking.queue = queue = subscribe(loop, lambda e: e.WhichOneof("message") in _ANSWERS)
        return queue

    def requested(message: Any) -> Any:
        queue, asking.queue = getattr(asking, "queue", None), None
        response = request(message)
        number = _number(response)
        if queue is not None and number is not None:
            _narrow(queue, lambda e: _number(e) == number)
        return response

    ffi.subscribe = narrower
    client.request = requested
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
    """A connected room is not told of other rooms' events, nor of answers that it does not wait for: both are many."""
    queue, handle = getattr(room, "_ffi_queue", None), getattr(getattr(room, "_ffi_handle", None), "handle", None)
    if queue is None or handle is None:
        return

    def own(event: Any) -> bool:
        kind = event.WhichOneof("message")
        if kind == "room_event":
            return bool(event.room_event.room_handle == handle)
        return kind not in _NOT_FOR_ROOMS

    _narrow(queue, own)


def _number(message: Any) -> int | None:
    """Of a request's response, and of the event that is its answer later; they are not given twice."""
    kind = message.WhichOneof("message")
    number = getattr(getattr(message, kind, None), "async_id", None) if kind else None
    return None if number is None else int(number)


def _narrow(queue: Any, own: Callable[[Any], bool]) -> None:
    ffi = FfiClient.instance.queue
    with ffi._lock:
        for i, (subscribed, loop, _) in enumerate(ffi._subscribers):
            if subscribed is queue:
                ffi._subscribers[i] = (subscribed, loop, own)
