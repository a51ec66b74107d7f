"""Many calls in one process without each hearing of all the others.

LiveKit's Python SDK (1.1.21) hands every event of the native library to every subscriber whose filter lets it through,
and the filters ask for the kind of an event, not for whose it is: with N calls, each of the N event loops is woken for
each audio frame of all N, and for each piece of sound and each word that any of them hands on, once for every request
of its own that is still under way. With 8 calls each event went to 30 queues, 3,600 times a second (docs/rooms.md). For
one call a process, as LiveKit runs them, this does not matter. Here its number tells whose it is. Nothing else
changes, and where the SDK looks different, nothing at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from livekit import rtc
from livekit.rtc import _ffi_client  # no public name (1.1.21)
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto import ffi_pb2

from ..config import environment_default, environment_switch
from ..runtime.flush_to_zero import start_with_flush_to_zero

_Subscriber = tuple[Any, asyncio.AbstractEventLoop]  # (queue, loop)
_Key = tuple[str, int]  # a kind of event, and the number of whose it is
_routes: _Routes | None = None

_FRAMES = ("audio_stream_event", "video_stream_event")
_ANSWERS = frozenset(
    field.name
    for field in ffi_pb2.FfiEvent.DESCRIPTOR.fields
    if field.message_type is not None and "async_id" in field.message_type.fields_by_name
)
# What a connected room is not told because it is not its own; a room awaits two answers in its own queue.
_NOT_FOR_ROOMS = (_ANSWERS | {"room_event", *_FRAMES}) - {"publish_track", "unpublish_track"}


class _Routes:
    """Who is told of what, found by its number instead of by asking every subscriber."""

    def __init__(self, ffi: Any) -> None:
        self._ffi = ffi
        self._everybody, self._leave = ffi.put, ffi.unsubscribe  # LiveKit's own
        self._routes: dict[_Key, Sequence[_Subscriber]] = {}
        self._key_of: dict[int, _Key] = {}  # by the queue's id: one that is here is alive
        ffi.put, ffi.unsubscribe = self.put, self.unsubscribe

    def put(self, event: Any) -> None:
        """As LiveKit's: on a thread of the native library."""
        kind = event.WhichOneof("message")
        with self._ffi._lock:
            key = _key(kind, event)
            told = self._routes.get(key, ()) if key else ()
            if kind not in _NOT_FOR_ROOMS:
                told = [*told, *(one for (of, _), some in self._routes.items() if of == "room_event" for one in some)]
            for queue, loop in told:
                with contextlib.suppress(RuntimeError):  # the loop of a call that has ended
                    loop.call_soon_threadsafe(queue.put_nowait, event)
            self._everybody(event)  # those that are not narrowed: few, and not for long

    def narrow(self, queue: Any, key: _Key) -> None:
        """From now on ``queue`` is told what belongs to ``key`` (a room: and what is nobody's)."""
        with self._ffi._lock:
            for i, (subscribed, loop, _) in enumerate(self._ffi._subscribers):
                if subscribed is queue:
                    del self._ffi._subscribers[i]
                    self._routes[key] = [*self._routes.get(key, ()), (queue, loop)]
                    self._key_of[id(queue)] = key
                    return

    def unsubscribe(self, queue: Any) -> None:
        """As LiveKit's."""
        with self._ffi._lock:
            key = self._key_of.pop(id(queue), None)
            if key is None:
                self._leave(queue)
                return
            left = [one for one in self._routes.pop(key) if one[0] is not queue]
            if left:
                self._routes[key] = left


def narrow_events() -> None:
    """From now on frames are told to the ``rtc.AudioStream`` that they belong to, the answer to a request to who waits
    for it, and neither to anybody else but connected rooms (:func:`narrow_room`). For this process; once is enough."""
    global _routes
    if _routes is not None:
        return
    client = FfiClient.instance
    ffi, request = client.queue, client.request
    _routes = routes = _Routes(ffi)
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
        if queue is not None and (number := _number(response.WhichOneof("message"), response)):
            routes.narrow(queue, ("answer", number))
        return response

    ffi.subscribe = narrower
    client.request = requested
    original = rtc.AudioStream.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        queue, handle = getattr(self, "_ffi_queue", None), getattr(getattr(self, "_ffi_handle", None), "handle", None)
        if queue is not None and handle is not None:
            routes.narrow(queue, ("audio_stream_event", handle))

    rtc.AudioStream.__init__ = init  # type: ignore[method-assign]


def start_library() -> None:
    """Start LiveKit's native library so that it costs less. Before anything else of it is used; once a process.

    Its threads flush subnormal numbers to zero (:mod:`voice_agent.runtime.flush_to_zero`): Opus in silence took 0.128
    cores for eight tracks, with this 0.059. Where the library runs already, that comes too late and changes nothing.

    It writes its warnings to stderr itself, and its debug lines nowhere. The SDK (1.1.21) has it make a line of text of
    everything it does, and decodes each in Python to drop it. In a worker with four calls its callback held Python's
    lock in 450 of 1,366 samples (py-spy), mostly for these lines. ``LIVEKIT_RTC_DEBUG=1`` asks for them, and keeps the
    SDK's way. ``RUST_LOG`` says which are written; it is read once, when the library is first used.
    """
    debug = environment_switch("LIVEKIT_RTC_DEBUG")
    if not debug:
        # Of its server it warns, at the end of each call, that Python has dropped handles which it had dropped itself.
        environment_default("RUST_LOG", "warn,livekit_ffi::server=error")
    start_with_flush_to_zero(lambda: FfiClient.instance)
    if not debug:
        library = FfiClient.instance._ffi_lib
        library.livekit_ffi_initialize(_ffi_client.ffi_event_callback, False, b"python", rtc.__version__.encode())


def narrow_room(room: rtc.Room) -> None:
    """A connected room is not told of other rooms' events, nor of answers that it does not wait for: both are many."""
    queue, handle = getattr(room, "_ffi_queue", None), getattr(getattr(room, "_ffi_handle", None), "handle", None)
    if _routes is not None and queue is not None and handle is not None:
        _routes.narrow(queue, ("room_event", handle))


def _key(kind: str | None, event: Any) -> _Key | None:
    """Whose an event is, where one can tell."""
    if kind == "audio_stream_event":
        return kind, event.audio_stream_event.stream_handle
    if kind == "room_event":
        return kind, event.room_event.room_handle
    number = _number(kind, event) if kind in _ANSWERS else None
    return ("answer", number) if number else None


def _number(kind: str | None, message: Any) -> int | None:
    """Of a request's response, and of the event that is its answer later; they are not given twice, and never 0."""
    number = getattr(getattr(message, kind), "async_id", None) if kind else None
    return None if number is None else int(number)
