"""Events of LiveKit's native library go to whom they belong, and the library is started so that it costs less.

LiveKit's Python SDK (1.1.21) hands every event to every subscriber whose filter accepts it, and the filters look at the
kind of an event, not at whose it is. With N calls in one process, each of the N event loops is woken for each audio
frame of all N, and for each request that any of them has under way. With 8 calls each event went to 30 queues, 3,600
times a second (docs/rooms.md). With one call a process, as LiveKit runs them, this does not matter. Here an event is
delivered by the number that it carries. Nothing else changes, and where the SDK looks different, nothing at all: each
function checks first that the SDK has what it patches, and leaves it alone with one warning if not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from livekit import rtc

from ..config import environment_default, environment_switch
from ..runtime.flush_to_zero import start_with_flush_to_zero
from .symbols import Symbol, all_found, warn_once

_CLIENT, _PROTO = "livekit.rtc._ffi_client", "livekit.rtc._proto.ffi_pb2"
_WOKEN = "with many calls, each is woken by the events of all"
_DEBUG = "the native library's debug lines take Python's lock, only to be dropped"
FFI_CLIENT = Symbol("livekit", _CLIENT, "FfiClient.instance", "the native library cannot be started ahead")
FFI_EVENT = Symbol("livekit", _PROTO, "FfiEvent.DESCRIPTOR", _WOKEN)
ROUTING = (
    Symbol("livekit", _CLIENT, "FfiClient.request", _WOKEN),
    Symbol("livekit", _CLIENT, "FfiClient.queue", _WOKEN),
    Symbol("livekit", _CLIENT, "FfiQueue.put", _WOKEN),
    Symbol("livekit", _CLIENT, "FfiQueue.subscribe", _WOKEN),
    Symbol("livekit", _CLIENT, "FfiQueue.unsubscribe", _WOKEN),
    Symbol("livekit", _CLIENT, "FfiQueue._lock", _WOKEN, set_in="__init__"),
    Symbol("livekit", _CLIENT, "FfiQueue._subscribers", _WOKEN, set_in="__init__"),
    FFI_EVENT,
    Symbol("livekit", "livekit.rtc", "AudioStream._ffi_queue", _WOKEN, set_in="__init__"),
    Symbol("livekit", "livekit.rtc", "AudioStream._ffi_handle", _WOKEN, set_in="__init__"),
    Symbol("livekit", "livekit.rtc", "Room._ffi_queue", _WOKEN, set_in="connect"),
    Symbol("livekit", "livekit.rtc", "Room._ffi_handle", _WOKEN, set_in="__init__"),
)
FFI_LIB = Symbol("livekit", _CLIENT, "FfiClient._ffi_lib", _DEBUG, set_in="__init__")
FFI_CALLBACK = Symbol("livekit", _CLIENT, "ffi_event_callback", _DEBUG)
HANDLES = {"audio_stream_event": "stream_handle", "room_event": "room_handle"}
"""Kind of event -> its field that says whose it is. An answer to a request has ``async_id`` instead."""

_Subscriber = tuple[Any, asyncio.AbstractEventLoop]  # (queue, loop)
_Key = tuple[str, int]  # a kind of event ("answer" for all answers), and the number of its owner
_router: _Router | None = None


def route_events() -> None:
    """From now on deliver audio frames to the ``rtc.AudioStream`` they belong to, and an answer to who waits for it;
    neither to anybody else but connected rooms (:func:`route_room`). For this process; once is enough.

    Call it before a stream or a room is made. Any other subscriber receives what it did before.
    """
    global _router
    if _router is None and all_found(FFI_CLIENT, *ROUTING) and (kinds := _kinds()) is not None:
        _router = _Router(FFI_CLIENT.find(), kinds)
        _router.patch()


def route_room(room: rtc.Room) -> None:
    """Deliver to a connected room its own events, and answers to nobody else; :func:`route_events` came before."""
    queue, handle = getattr(room, "_ffi_queue", None), getattr(getattr(room, "_ffi_handle", None), "handle", None)
    if _router is not None and queue is not None and handle is not None:
        _router.route(queue, ("room_event", handle))


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
        # At the end of each call its server warns that Python has dropped handles that it had dropped itself.
        environment_default("RUST_LOG", "warn,livekit_ffi::server=error")
    clients: list[Any] = []
    start_with_flush_to_zero(lambda: clients.append(FFI_CLIENT.find()))
    (client,) = clients
    if debug or client is None or not all_found(FFI_LIB, FFI_CALLBACK):
        return
    client._ffi_lib.livekit_ffi_initialize(FFI_CALLBACK.find(), False, b"python", rtc.__version__.encode())


class _Kinds:
    """What the SDK's messages look like: which kinds of events are answers, and whose an event is."""

    def __init__(self, fields: Sequence[Any]) -> None:
        self.answers = frozenset(
            field.name
            for field in fields
            if field.message_type is not None and "async_id" in field.message_type.fields_by_name
        )
        # What a connected room is not told because it is not its own; a room awaits two answers in its own queue.
        self.not_for_rooms = self.answers | {"room_event", "audio_stream_event", "video_stream_event"}
        self.not_for_rooms -= {"publish_track", "unpublish_track"}

    def key(self, kind: str | None, event: Any) -> _Key | None:
        """Whose an event is; None where nothing in it tells."""
        if kind in HANDLES:
            return kind, getattr(getattr(event, kind), HANDLES[kind])
        number = self.number(kind, event) if kind in self.answers else None
        return ("answer", number) if number else None

    @staticmethod
    def number(kind: str | None, message: Any) -> int | None:
        """The number of a request: in the response to it, and in the event that is its answer later. The library gives
        none twice, and never 0."""
        number = getattr(getattr(message, kind), "async_id", None) if kind else None
        return None if number is None else int(number)


def _kinds() -> _Kinds | None:
    """None, with a warning, if the messages are not those of 1.1.21."""
    fields = FFI_EVENT.find().fields_by_name
    for kind, handle in HANDLES.items():
        if kind not in fields or handle not in fields[kind].message_type.fields_by_name:
            warn_once(f"livekit's event {kind} has no {handle}: {_WOKEN}")
            return None
    return _Kinds(list(fields.values()))


class _Router:
    """In place of ``FfiQueue.put`` and its like: the subscribers of an event are found by its number."""

    def __init__(self, client: Any, kinds: _Kinds) -> None:
        self._client, self._queue, self._kinds = client, client.queue, kinds
        self._put, self._subscribe, self._unsubscribe = self._queue.put, self._queue.subscribe, self._queue.unsubscribe
        self._request = client.request
        self._routes: dict[_Key, Sequence[_Subscriber]] = {}
        self._key_of: dict[int, _Key] = {}  # by the queue's id: one that is here is alive
        self._asking = threading.local()

    def patch(self) -> None:
        self._queue.put, self._queue.unsubscribe = self.put, self.unsubscribe
        self._queue.subscribe, self._client.request = self.subscribe, self.request
        init, router = rtc.AudioStream.__init__, self

        @functools.wraps(init)
        def routed(stream: Any, *args: Any, **kwargs: Any) -> None:
            init(stream, *args, **kwargs)
            router.route(stream._ffi_queue, ("audio_stream_event", stream._ffi_handle.handle))

        rtc.AudioStream.__init__ = routed  # type: ignore[method-assign,assignment]

    def put(self, event: Any) -> None:
        """As LiveKit's: on a thread of the native library."""
        kind = event.WhichOneof("message")
        with self._queue._lock:
            key = self._kinds.key(kind, event)
            receivers = self._routes.get(key, ()) if key else ()
            if kind not in self._kinds.not_for_rooms:
                rooms = (one for (of, _), some in self._routes.items() if of == "room_event" for one in some)
                receivers = [*receivers, *rooms]
            for queue, loop in receivers:
                with contextlib.suppress(RuntimeError):  # the loop of a call that has ended
                    loop.call_soon_threadsafe(queue.put_nowait, event)
            self._put(event)  # to subscribers without a route: few, and not for long

    def subscribe(
        self, loop: asyncio.AbstractEventLoop | None = None, filter_fn: Callable[[Any], bool] | None = None
    ) -> Any:
        """As LiveKit's. Who waits for an answer subscribes without a filter, and sends the request in the next line;
        whoever else does so receives everything."""
        queue = self._subscribe(loop, filter_fn)
        if filter_fn is None:
            self._asking.queue = queue
            with contextlib.suppress(RuntimeError):  # no loop runs on this thread
                asyncio.get_running_loop().call_soon(self._no_request, queue)
        return queue

    def _no_request(self, queue: Any) -> None:
        """The step of the loop in which ``queue`` was made is over: a request that comes now is another's."""
        if getattr(self._asking, "queue", None) is queue:
            self._asking.queue = None

    def request(self, message: Any) -> Any:
        """As ``FfiClient.request``."""
        queue, self._asking.queue = getattr(self._asking, "queue", None), None
        response = self._request(message)
        if queue is not None and (number := self._kinds.number(response.WhichOneof("message"), response)):
            self.route(queue, ("answer", number))
        return response

    def route(self, queue: Any, key: _Key) -> None:
        """From now on ``queue`` receives what belongs to ``key`` (a room's: also what has no owner)."""
        with self._queue._lock:
            for i, (subscribed, loop, *_) in enumerate(self._queue._subscribers):
                if subscribed is queue:
                    del self._queue._subscribers[i]
                    self._routes[key] = [*self._routes.get(key, ()), (queue, loop)]
                    self._key_of[id(queue)] = key
                    return

    def unsubscribe(self, queue: Any) -> None:
        """As LiveKit's."""
        with self._queue._lock:
            key = self._key_of.pop(id(queue), None)
            if key is None:
                self._unsubscribe(queue)
                return
            left = [one for one in self._routes.pop(key) if one[0] is not queue]
            if left:
                self._routes[key] = left
