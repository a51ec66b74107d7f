"""A sound server of one's own, a provider on loopback, and the doctor in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CANARY = "canary-4f9d2c7e1b8a"


def _neighbour(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "support" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pulse() -> Iterator[Any]:
    """A running :class:`tests.support.pulse.Pulse`."""
    with _neighbour("pulse").running() as server:
        yield server


@pytest.fixture(scope="module")
def livekit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running livekit-server."""
    with _neighbour("livekit_server").running(tmp_path_factory.mktemp("livekit")) as server:
        yield server


class Provider(ThreadingHTTPServer):
    """Serves one model to whoever has ``key``; repeats a wrong key in its refusal, as some do."""

    key = "the-right-key"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def _refuse(self) -> bool:
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if sent == self.server.key:
            return False
        self._answer({"error": {"message": f"Incorrect API key provided: {sent}"}}, 401)
        return True

    def _answer(self, body: object, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self) -> None:
        if not self._refuse():
            self._answer({"data": [{"id": "llama-3.3-70b"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self._refuse():
            return
        self.server.asked += 1
        message = {"role": "assistant", "content": "I hear you."}
        self._answer({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Provider]:
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


Doctor = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """Run ``voice-agent doctor``; keyword arguments are its environment.

    The machine's sound is out of order: ALSA knows no device, and ends the process that asks (PortAudio 19.6 asserts).
    """

    def run(*flags: str, **env: str) -> subprocess.CompletedProcess[str]:
        ours = ("VOICE_AGENT_", "LIVEKIT_", "PULSE_", "ALSA_")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(ours) and not k.endswith("_API_KEY")}
        (tmp_path / "asoundrc").touch()
        silent = {"ALSA_CONFIG_PATH": str(tmp_path / "asoundrc"), "COLUMNS": "80"}
        return subprocess.run(
            [sys.executable, "-m", "voice_agent.cli", "doctor", *flags],
            capture_output=True, text=True, timeout=180, env=clean | silent | env, check=False,
        )  # fmt: skip

    return run
