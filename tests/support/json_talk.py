"""``voice-agent talk --json`` on a private sound server: its events as they come, its keyboard a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.pulse import Pulse

LIMIT_S = 120.0  # for a test that hangs


class JsonTalk:
    """A running call. ``events`` grows as it goes on; ``args`` are added to the command line."""

    def __init__(self, pulse: Pulse, *args: str) -> None:
        argv = [sys.executable, "-m", "voice_agent.cli", "talk", "--whisper", "tiny.en", "--json", *args]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VOICE_AGENT_")}
        self.child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)} | pulse.environment,
        )  # fmt: skip
        self.events: list[dict[str, Any]] = []
        self.said: list[str] = []  # on standard error
        self._more = threading.Condition()
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> JsonTalk:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        for thread in self._threads:
            thread.join(timeout=5)
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            with self._more:
                self.events.append(json.loads(line))
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def _read_errors(self) -> None:
        assert self.child.stderr is not None
        self.said.extend(self.child.stderr)

    def all(self, name: str) -> list[dict[str, Any]]:
        """The events of that name so far."""
        return [event for event in list(self.events) if event["event"] == name]

    def wait(self, done: Callable[[], object], limit_s: float = LIMIT_S) -> None:
        """Until ``done()``, looked at with each event. AssertionError if the call ends, or nothing comes, first."""
        end = time.monotonic() + limit_s
        with self._more:
            while not done():
                left = end - time.monotonic()
                assert left > 0, f"this did not happen: {self._tail()}"
                assert self.child.poll() is None, f"the call has ended: {self._tail()}"
                self._more.wait(min(left, 1.0))

    def wait_for(self, name: str, count: int = 1, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """The ``count``-th event of that name."""
        self.wait(lambda: len(self.all(name)) >= count, limit_s)
        return self.all(name)[count - 1]

    def type(self, line: str) -> None:
        """Send ``line`` as text."""
        assert self.child.stdin is not None
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def end(self) -> int:
        """Hang up (a signal, as a program would); returns the exit code."""
        self.child.terminate()
        return self.child.wait(timeout=60)

    def _tail(self) -> str:
        return "".join([*(json.dumps(e) + "\n" for e in self.events[-8:]), *self.said[-8:]])
