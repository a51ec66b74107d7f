"""A simulated provider: an OpenAI-compatible server on loopback, in its own process, that answers at a chosen speed.

The speed is a :class:`~voice_agent.llm.sim_spec.SimSpec`. It is a process, not a thread: a remote provider does not
compete with our threads for Python's lock, so its simulation must not either. Everything measured with it is labelled
*simulated*.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from ...config import environment_without_secrets
from ...errors import ModelError
from ..sim_spec import SimSpec

_PROGRAM = Path(__file__).with_name("sim_server.py")


@dataclass(frozen=True, slots=True)
class SimStats:
    """Counts of the server: chat requests, requests that the client cancelled, requests answered to the end."""

    requests: int
    cancelled: int
    completed: int


class SimServer:
    """Runs the server in a child process, which ends with :meth:`close`, or when this process ends.

    ``base_url`` is ready once the constructor returns. Raises ModelError if the child does not start.
    """

    def __init__(self, spec: SimSpec) -> None:
        self.spec = spec
        # -P: the program's folder must not come before the standard library on its path.
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), json.dumps(asdict(spec))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment_without_secrets(),
        )
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line.startswith("port "):
            self.close()
            raise ModelError("the simulated model did not start; its own message stands above")
        self.base_url = f"http://127.0.0.1:{int(line.split()[1])}/v1"

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code of the child; None while it runs."""
        return self._child.returncode

    def stats(self) -> SimStats:
        """Counts so far (one short blocking request to the child)."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/stats", timeout=5) as answer:
            return SimStats(**json.load(answer))

    def close(self) -> None:
        """End the child. May be called again."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._child.wait(timeout=2)  # it ends by itself when its input closes
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def __enter__(self) -> SimServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
