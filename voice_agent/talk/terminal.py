"""The terminal during a call: single keys, and standard error as notes; both are undone at the end."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import threading
from collections.abc import Callable, Iterator

from .events import Event, Note


class Terminal:
    """Switches the terminal on ``fd`` (its screen on ``out_fd``) to single keys, and back.

    Ctrl-C, Ctrl-Z and Ctrl-backslash still send signals. Ctrl-S does not freeze the screen. Pastes are marked as such.
    """

    def __init__(self, fd: int, out_fd: int) -> None:
        self._fd = fd
        self._out_fd = out_fd
        self._saved: list[int | list[bytes | int]] | None = None

    @staticmethod
    def usable(fd: int) -> bool:
        """Whether ``fd`` is a terminal that this process may read: reading stops a process in the background."""
        try:
            return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
        except OSError:
            return False

    def enter(self) -> None:
        """Single keys without echo."""
        saved = termios.tcgetattr(self._fd)
        if self._saved is None:
            self._saved = list(saved)
        changed = list(saved)
        changed[0] &= ~termios.IXON
        changed[3] &= ~(termios.ICANON | termios.ECHO)
        control = list(changed[6])
        control[termios.VMIN], control[termios.VTIME] = 1, 0
        changed[6] = control
        termios.tcsetattr(self._fd, termios.TCSADRAIN, changed)
        self._write("\x1b[?2004h")  # mark pastes

    def leave(self) -> None:
        """Restore the settings and show the cursor. More than once does nothing."""
        if self._saved is None:
            return
        saved, self._saved = self._saved, None
        self._write("\x1b[?2004l\x1b[?25h")
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._out_fd, text.encode())

    @contextlib.contextmanager
    def keys(self) -> Iterator[None]:
        """Single keys inside the block; the settings are restored at its end, also after an error."""
        self.enter()
        try:
            yield
        finally:
            self.leave()


@contextlib.contextmanager
def stderr_as_notes(put: Callable[[Event], None]) -> Iterator[None]:
    """Turn lines on standard error into notes inside the block, if standard error is a terminal.

    Libraries (ALSA, llama.cpp) write to it; on a live screen that would break the drawing.
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
        os.dup2(saved, 2)  # closes the last writing end of the pipe
        os.close(saved)
        thread.join(timeout=1.0)
