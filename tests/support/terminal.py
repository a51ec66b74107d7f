"""A process on a terminal (a pseudo one) whose other end a test holds."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping


class OnTerminal:
    """A process whose terminal we hold the other end of. ``argv`` runs in a session of its own, as under a terminal."""

    def __init__(self, argv: list[str], env: Mapping[str, str] | None = None, columns: int = 80) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (30, columns))
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.code: int | None = None
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("VOICE_AGENT_", "NO_COLOR"))}
        self.child = subprocess.Popen(
            argv, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            env=environment | {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)} | dict(env or {}),
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def drain(self, timeout_s: float = 0.1) -> None:
        """Take in what is shown, once some of it came or time is up: a terminal that nobody reads stands still."""
        if select.select([self.master], [], [], timeout_s)[0]:
            self.seen += os.read(self.master, 65536)

    def read(self, timeout_s: float = 0.1) -> str:
        """All that has been shown so far, without colours, once more of it came or time is up."""
        self.drain(timeout_s)
        return re.sub(r"\x1b\[[\d;]*m", "", self.seen.decode("utf-8", "replace"))

    def wait_for(self, words: str, limit_s: float = 30.0) -> str:
        """Read until ``words`` have been shown. AssertionError if the process ends or time is up before that."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if words in (shown := self.read()):
                return shown
            if self.child.poll() is not None and words not in self.read(0.5):
                break
        raise AssertionError(f"{words!r} was not shown; the child's code is {self.child.poll()}:\n{self.read()}")

    def end(self, limit_s: float = 30.0) -> int:
        """Wait for the process to end and read its output meanwhile; returns its code."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            self.read()
            if (code := self.child.poll()) is not None:
                self.read()
                return code
        raise AssertionError(f"the process does not end:\n{self.read()}")

    def echoes(self) -> bool:
        """Whether the terminal is as a shell wants it: lines, and an echo of what is typed."""
        local = termios.tcgetattr(self.slave)[3]
        return bool(local & termios.ICANON) and bool(local & termios.ECHO)

    def restored(self) -> bool:
        """All settings as before, the cursor shown, pastes plain again."""
        text = self.read()
        return (
            termios.tcgetattr(self.slave) == self.before
            and text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
            and text.rfind("\x1b[?2004l") >= text.rfind("\x1b[?2004h")
        )

    def close(self) -> None:
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)  # the session that we started, and nothing else
            self.child.wait()
        os.close(self.master)
        os.close(self.slave)
