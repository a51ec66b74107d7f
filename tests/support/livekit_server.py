"""A real livekit-server for tests: found, started on loopback with free ports, and ended with the test session.

Use the fixture ``livekit_server`` (registered in tests/conftest.py; a test that asks for it is skipped, loudly, where
there is no such program). ``VOICE_AGENT_LIVEKIT_SERVER`` names it; else it is looked for on the PATH and in the cache,
where ``scripts/check`` builds it if Go is there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from voice_agent.config import cache_dir

KEY, SECRET = "testkey", "a-secret-of-the-tests-and-of-nothing-else"


def program() -> str | None:
    """The livekit-server of this machine; None if there is none."""
    named = os.environ.get("VOICE_AGENT_LIVEKIT_SERVER")
    if named:
        return named
    cached = cache_dir() / "bin" / "livekit-server"
    return shutil.which("livekit-server") or (str(cached) if cached.is_file() else None)


@dataclass(slots=True)
class LiveKitServer:
    """One that runs. ``stop`` and ``start`` make an outage (it comes back on the same ports), ``pause`` and ``resume``
    a break."""

    program: str
    port: int
    tcp_port: int
    udp_port: int
    log: Path
    key: str = KEY
    secret: str = SECRET
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET."""
        return {"LIVEKIT_URL": self.url, "LIVEKIT_API_KEY": self.key, "LIVEKIT_API_SECRET": self.secret}

    def start(self) -> None:
        """Start, and return when it answers."""
        settings = (
            f"port: {self.port}\nbind_addresses: [127.0.0.1]\n"
            f"rtc: {{tcp_port: {self.tcp_port}, udp_port: {self.udp_port}, use_external_ip: false,"
            " interfaces: {includes: [lo]}, enable_loopback_candidate: true, node_ip: 127.0.0.1}\n"
            f"keys: {{{self.key}: {self.secret}}}\nlogging: {{level: info}}\n"
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([self.program, "--config-body", settings], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=1).close()
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"livekit-server does not answer; its log ends:\n{self.log.read_text()[-2000:]}")

    def pause(self) -> None:
        """Let it stand still: nothing passes any more, and no connection is closed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port on loopback that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path) -> Iterator[LiveKitServer]:
    """A server of one's own; the test is skipped if there is no program for it."""
    found = program()
    if found is None:
        pytest.skip("no livekit-server here; with Go, scripts/check builds it (or set VOICE_AGENT_LIVEKIT_SERVER)")
    log = folder / "livekit-server.log"
    server = LiveKitServer(found, free_port(), free_port(), free_port(socket.SOCK_DGRAM), log)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def livekit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKitServer]:
    """One server for all tests of a session."""
    with running(tmp_path_factory.mktemp("livekit")) as server:
        yield server
