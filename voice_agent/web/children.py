"""A child process: started in a group of its own, its output read, ended with everything that it has started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ..errors import VoiceAgentError

KEPT_LINES = 15


class ChildError(VoiceAgentError):
    """A process that the command depends on did not start, or ended."""


class Child:
    """One child process. Its own group: Ctrl-C in a terminal reaches only this process, which then ends its children.

    ``on_line`` gets every line that it prints; :attr:`ready` is set by the first line that matches ``ready``. Its
    output is shown only if it fails.
    """

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        on_line: Callable[[str], None],
        ready: re.Pattern[str] | None,
    ) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self._ready_line = ready
        self.tail: deque[str] = deque(maxlen=KEPT_LINES)
        self._process = process
        self._on_line = on_line
        self._pump = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        on_line: Callable[[str], None] = lambda _: None,
        ready: re.Pattern[str] | None = None,
    ) -> Child:
        """Run ``command``. Put secrets into ``env`` or a private file: every user can list the commands that run."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=None if env is None else dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                limit=1 << 20,
            )
        except OSError as e:
            raise ChildError(f"{name}: {command[0]} cannot be run ({e.strerror})") from e
        return cls(name, process, on_line, ready)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def ended(self) -> int:
        """Wait for its end; returns the exit code."""
        return await self._process.wait()

    def failure(self) -> ChildError:
        """The error to raise because it has ended, with its last lines."""
        said = "".join(f"\n  {line}" for line in self.tail) or " It printed nothing."
        return ChildError(f"{self.name} ended with code {self._process.returncode}. Its last lines:{said}")

    async def stop(self, grace_s: float) -> None:
        """Terminate it, wait ``grace_s``, then kill it and everything that it has started."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s)
        # It leads its group, so this also kills grandchildren, which would hold the pipe open.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await self._pump

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than the limit: it is thrown away
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            if text:
                self.tail.append(text)
                if self._ready_line is not None and self._ready_line.search(text):
                    self.ready.set()
                self._on_line(text)
