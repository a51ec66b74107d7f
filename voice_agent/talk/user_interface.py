"""Runs a call with its user interface: events to a sink, keys to the call, signals end it.

Whatever ends the call (a key, Ctrl-C, SIGTERM, an error), the terminal is restored before the error is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator

from ..clock import SYSTEM, Clock
from .event_pump import EventPump, EventSink
from .events import Event, Typing
from .key_input import KeyCommand, KeyInput, TypedLine
from .live_screen import ScreenSink
from .terminal import Terminal, stderr_as_notes

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class UserInterface:
    """What a call sees of its user: :meth:`emit` shows an event, :attr:`pressed` holds what the user entered."""

    def __init__(self, put: Callable[[Event], None]) -> None:
        self.emit = put
        self.pressed: asyncio.Queue[KeyCommand | TypedLine] = asyncio.Queue()


Body = Callable[[UserInterface], Awaitable[None]]


class CallEnd:
    """Ends the call's task once, for the first reason. ``code``: the exit code; 0: the call ended by itself."""

    def __init__(self) -> None:
        self.code = 0
        self.sink_error: BaseException | None = None
        self.task: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def stop(self, code: int) -> None:
        """Cancel the call. Later reasons are ignored: a second signal must not interrupt the clean-up."""
        if not self.code:
            self.code = code
            if self.task is not None:
                self.task.cancel()

    def interrupt(self) -> None:
        """Ctrl-C: cancel the call. A second Ctrl-C then ends the process at once."""
        self._loop.remove_signal_handler(signal.SIGINT)
        self.stop(128 + signal.SIGINT)

    def sink_failed(self, error: BaseException) -> None:
        """On the sink's thread: it cannot write any more. A closed output (``| head``) ends the call like a signal."""
        self.sink_error = error
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self.stop, 128 + signal.SIGPIPE)


async def run_call(body: Body, sink: EventSink, *, keys_fd: int | None = None, clock: Clock = SYSTEM) -> int:
    """Run ``body`` with ``sink`` for its events; returns the exit code: 0, or 128 + the signal that ended it.

    ``keys_fd``: where keys or, if it is not a terminal, lines come from. Raises what ``body`` raises, and an error of
    the sink other than a closed output, after the terminal is restored.
    """
    end = CallEnd()
    with contextlib.ExitStack() as stack:
        pump = EventPump(sink, end.sink_failed, clock)
        ui = UserInterface(pump.put)
        screen = sink if isinstance(sink, ScreenSink) else None
        terminal = _single_keys(keys_fd, screen, stack)
        if screen is not None:
            screen.start()
        pump.start()
        stack.callback(pump.close)
        if screen is not None:
            stack.enter_context(stderr_as_notes(pump.put))
        if keys_fd is not None:
            stack.enter_context(_reading(keys_fd, ui, terminal is not None))
        end.task = asyncio.ensure_future(body(ui))
        _handle(signal.SIGINT, end.interrupt, stack)
        for number in _SIGNALS:
            _handle(number, functools.partial(end.stop, 128 + number), stack)
        if terminal is not None:
            _handle(signal.SIGTSTP, lambda: _suspend(pump, screen, terminal), stack)
        try:
            await end.task
        except asyncio.CancelledError:
            if not end.code:  # cancelled from outside
                raise
    if end.sink_error is not None and not isinstance(end.sink_error, OSError):
        raise end.sink_error
    return end.code


def _single_keys(fd: int | None, screen: ScreenSink | None, stack: contextlib.ExitStack) -> Terminal | None:
    """The terminal, switched to single keys until ``stack`` closes; None if ``fd`` is not one."""
    if fd is None or not Terminal.usable(fd):
        return None
    terminal = Terminal(fd, sys.stdout.fileno() if screen is not None else fd)
    stack.enter_context(terminal.keys())
    return terminal


def _handle(number: int, handler: Callable[[], None], stack: contextlib.ExitStack) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, handler)
    stack.callback(loop.remove_signal_handler, number)


def _suspend(pump: EventPump, screen: ScreenSink | None, terminal: Terminal) -> None:
    """Ctrl-Z: restore the terminal for the shell, stop, and draw again when the shell continues us."""
    with pump.lock:
        if screen is not None:
            screen.stop()
        terminal.leave()
        # The default action: in a process group without a shell it does nothing, where SIGSTOP would hang.
        previous = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, previous)
        terminal.enter()
        if screen is not None:
            screen.start()


@contextlib.contextmanager
def _reading(fd: int, ui: UserInterface, as_keys: bool) -> Iterator[None]:
    """Put input into ``ui.pressed`` inside the block: keys from a terminal, whole lines from anything else."""
    loop = asyncio.get_running_loop()
    keys = KeyInput()
    if not as_keys:
        keys.line = ""

    def readable() -> bool:
        """Read what is there; False at the end of the input (the call goes on)."""
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
                keys.line = "" if keys.line is None else keys.line  # a pipe has no single keys
                pressed += keys.feed(piece)
        for press in pressed:
            ui.pressed.put_nowait(press)
        return True

    try:
        loop.add_reader(fd, readable)
    except OSError:  # a plain file: always readable, and the loop cannot watch it
        while readable():
            pass
        yield
        return
    try:
        yield
    finally:
        loop.remove_reader(fd)
