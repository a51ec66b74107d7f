"""Passes the events of a call to the screen (or another sink) on a thread of its own.

A slow terminal, or an output that nobody reads, must not delay the audio: the event loop only queues events.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from ..clock import SYSTEM, Clock
from .events import Event

TICK_S = 0.1


class EventSink(Protocol):
    """Shows or writes events. All methods are called on one thread (or after it has ended)."""

    def take(self, at_s: float, event: Event) -> None: ...

    def tick(self) -> None: ...

    def close(self) -> None: ...


class EventPump:
    """Passes events to a sink on a thread. ``on_error`` is called there if the sink fails, say with a closed output."""

    def __init__(self, sink: EventSink, on_error: Callable[[BaseException], None], clock: Clock = SYSTEM) -> None:
        self._sink = sink
        self._on_error = on_error
        self._clock = clock
        self._began = clock.now()
        self._queue: queue.SimpleQueue[tuple[float, Event] | None] = queue.SimpleQueue()
        self.lock = threading.RLock()  # held while the sink works
        self._failed = False
        # A daemon: a terminal that accepts no more output must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def put(self, event: Event) -> None:
        """Queue ``event``; never waits. May be called on any thread."""
        self._queue.put((self._clock.now() - self._began, event))

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Deliver the queued events and close the sink; waits at most 3 s."""
        self._queue.put(None)
        self._thread.join(timeout=3.0)

    def _run(self) -> None:
        try:
            while True:
                with contextlib.suppress(queue.Empty):
                    item = self._queue.get(timeout=TICK_S)
                    with self.lock:
                        while item is not None:
                            self._sink.take(*item)
                            if self._queue.empty():
                                break
                            item = self._queue.get()
                    if item is None:
                        break
                with self.lock:
                    self._sink.tick()
        except BaseException as e:
            self._failed = True
            self._on_error(e)
        finally:
            with self.lock:
                try:
                    self._sink.close()
                except OSError as e:
                    if not self._failed:
                        self._on_error(e)
