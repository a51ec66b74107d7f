"""Everything between a call and the person: events go to a sink on a thread of its own, keys come in, signals end it.

A terminal that is slow, or that nobody reads, must not hold up the sound, so the loop only puts events into a queue.
Whatever ends the call (a key, Ctrl-C, SIGTERM, a crash), the terminal is put back before the error goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from ..clock import SYSTEM, Clock
from .events import Event, Note, Typing
from .key_input import KeyCommand, KeyInput, Terminal, TypedLine
from .live_screen import ScreenSink

TICK_S = 0.1
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class EventSink(Protocol):
    """Where events go. All methods are called on one thread (or after it has ended)."""

    def take(self, at_s: float, event: Event) -> None: ...

    def tick(self) -> None: ...

    def close(self) -> None: ...


class EventPump:
    """Carries events to a sink on a thread; ``on_error`` is called there if the sink fails (its output was closed)."""

    def __init__(self, sink: EventSink, on_error: Callable[[BaseException], None], clock: Clock = SYSTEM) -> None:
        self._sink = sink
        self._on_error = on_error
        self._clock = clock
        self._began = clock.now()
        self._queue: queue.SimpleQueue[tuple[float, Event] | None] = queue.SimpleQueue()
        self.lock = threading.RLock()  # held while the sink works
        self._failed = False
        # A daemon: a terminal that takes nothing any more must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def put(self, event: Event) -> None:
        """Hand ``event`` on; never waits. From any thread."""
        self._queue.put((self._clock.now() - self._began, event))

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Deliver what is queued and close the sink, within a few seconds."""
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


class UserInterface:
    """What a call sees of the person: :meth:`emit` to tell, :attr:`pressed` to listen."""

    def __init__(self, put: Callable[[Event], None]) -> None:
        self.emit = put
        self.pressed: asyncio.Queue[KeyCommand | TypedLine] = asyncio.Queue()


Body = Callable[[UserInterface], Awaitable[None]]


async def show(body: Body, sink: EventSink, *, keys_fd: int | None = None, clock: Clock = SYSTEM) -> int:
    """Run ``body`` with ``sink`` as its screen; returns the exit code: 0, or 128 + the signal that ended it.

    ``keys_fd``: where keys or, if it is no terminal, lines come from. Errors of ``body`` are raised when the terminal
    is as it was. A closed output (``| head``) ends the call like a signal.
    """
    loop = asyncio.get_running_loop()
    code = 0
    failure: list[BaseException] = []
    task: asyncio.Task[None]

    def stop(with_code: int) -> None:
        nonlocal code
        if not code:  # once: a second signal must not break off the tidy end
            code = with_code
            task.cancel()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C does not wait for a tidy end
        stop(128 + signal.SIGINT)

    def sink_failed(error: BaseException) -> None:
        failure.append(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(stop, 128 + signal.SIGPIPE)

    with contextlib.ExitStack() as stack:
        pump = EventPump(sink, sink_failed, clock)
        ui = UserInterface(pump.put)
        screen = sink if isinstance(sink, ScreenSink) else None
        terminal: Terminal | None = None
        if keys_fd is not None and Terminal.usable(keys_fd):
            terminal = Terminal(keys_fd, sys.stdout.fileno() if screen is not None else keys_fd)
            stack.enter_context(terminal.keys())
        if screen is not None:
            screen.start()
        pump.start()
        stack.callback(pump.close)
        if screen is not None:
            stack.enter_context(_standard_error_as_notes(pump.put))
        if keys_fd is not None:
            stack.enter_context(_reading(keys_fd, ui, terminal is not None))
        task = asyncio.ensure_future(_await(body, ui))
        loop.add_signal_handler(signal.SIGINT, interrupted)
        stack.callback(loop.remove_signal_handler, signal.SIGINT)
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop, 128 + number)
            stack.callback(loop.remove_signal_handler, number)
        if terminal is not None:
            loop.add_signal_handler(signal.SIGTSTP, _suspend, pump, screen, terminal)
            stack.callback(loop.remove_signal_handler, signal.SIGTSTP)
        try:
            await task
        except asyncio.CancelledError:
            if not code:  # somebody else cancelled us
                raise
    if failure and not isinstance(failure[0], BrokenPipeError | OSError):
        raise failure[0]
    return code


async def _await(body: Body, ui: UserInterface) -> None:
    await body(ui)


def _suspend(pump: EventPump, screen: ScreenSink | None, terminal: Terminal) -> None:
    """Ctrl-Z: hand the terminal to the shell as it was, stop, and come back drawing when the shell says so."""
    with pump.lock:
        if screen is not None:
            screen.stop()
        terminal.leave()
        # The signal's own default: in a process group without a shell it does nothing, where SIGSTOP would hang.
        mine = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, mine)
        terminal.enter()
        if screen is not None:
            screen.start()


@contextlib.contextmanager
def _reading(fd: int, ui: UserInterface, as_keys: bool) -> Iterator[None]:
    """Put what is typed into ``ui.pressed``: keys from a terminal, whole lines from anything else."""
    loop = asyncio.get_running_loop()
    keys = KeyInput()
    if not as_keys:
        keys.line = ""

    def readable() -> bool:
        """Take in what is there; False at the end, when nobody types any more and the call goes on."""
        try:
            data = os.read(fd, 4096)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(fd)
            return False
        if as_keys:
            before = keys.line
            pressed = keys.feed(data)
            if keys.line != before:
                ui.emit(Typing(keys.line))
        else:
            pressed = []
            for piece in data.splitlines(keepends=True):
                keys.line = "" if keys.line is None else keys.line  # no single keys in a pipe
                pressed += keys.feed(piece)
        for press in pressed:
            ui.pressed.put_nowait(press)
        return True

    try:
        loop.add_reader(fd, readable)
    except OSError:  # a plain file is always readable and cannot be waited for
        while readable():
            pass
        yield
        return
    try:
        yield
    finally:
        loop.remove_reader(fd)


@contextlib.contextmanager
def _standard_error_as_notes(put: Callable[[Event], None]) -> Iterator[None]:
    """While the screen is live, libraries that write to standard error (ALSA, llama.cpp) would tear it.

    Their lines become notes. Only if standard error is a terminal; a file is left alone.
    """
    if not os.isatty(2):
        yield
        return
    saved = os.dup(2)
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)

    def carry() -> None:
        with os.fdopen(read, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.strip():
                    put(Note(line.rstrip()))

    thread = threading.Thread(target=carry, name="standard-error", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)  # closes the pipe's last writing end
        os.close(saved)
        thread.join(timeout=1.0)
