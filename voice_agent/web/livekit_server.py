"""Finds, configures and starts a ``livekit-server`` on loopback, for users who have none.

Only this machine reaches it. Each run makes a new key, in a file that only this user can read.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp

from ..config import Secret, cache_dir, plain_environment
from ..errors import ConfigError, UsageError
from ..room.access import LiveKitAccess
from .children import Child, ChildError

VERSION = "1.13.5"  # the release that the tests use
START_S = 20.0
MISSING = f"""no livekit-server found: it carries the sound between the browser and the agent. One of these gets it:
  Go:       go install github.com/livekit/livekit-server/cmd/server@v{VERSION}
            then: mkdir -p {{cache}} && mv "$(go env GOPATH)/bin/server" {{cache}}/livekit-server
  release:  https://github.com/livekit/livekit/releases/tag/v{VERSION} (unpack livekit-server into {{cache}})
  macOS:    brew install livekit
Or set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET to use a server that runs already (LiveKit Cloud, say)."""


def find(configured: str = "") -> Path:
    """The program: the one that ``livekit.server`` names, else on the PATH, else in this package's cache.

    Raises ConfigError if the named one is not there, UsageError with how to get it if there is none.
    """
    if configured:
        named = shutil.which(str(Path(configured).expanduser()))
        if named is None:
            raise ConfigError(f"livekit.server: {configured} is not there or cannot be run")
        return Path(named)
    folder = cache_dir() / "bin"
    found = shutil.which("livekit-server") or shutil.which("livekit-server", path=str(folder))
    if found is None:
        shown = str(folder).replace(str(Path.home()), "~", 1)
        raise UsageError(MISSING.format(cache=shown))
    return Path(found)


def configuration(*, port: int, udp_port: int, api_key: str, api_secret: str) -> str:
    """The server's configuration for loopback, as JSON (a subset of YAML). It contacts no other machine."""
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    rtc = {
        "tcp_port": 0,
        "udp_port": udp_port,
        "use_external_ip": False,
        "node_ip": "127.0.0.1",
        "enable_loopback_candidate": True,
        "stun_servers": ["127.0.0.1:3478"],  # otherwise it asks public servers at every start
        **({"interfaces": {"includes": [loopback]}} if loopback else {}),
    }
    return json.dumps(
        {
            "port": port,
            "bind_addresses": ["127.0.0.1"],
            "rtc": rtc,
            "keys": {api_key: api_secret},
            "logging": {"level": "warn", "json": False},
        }
    )


async def start(
    binary: Path, folder: Path, *, on_line: Callable[[str], None] = lambda _: None
) -> tuple[Child, LiveKitAccess]:
    """Start the server with a new key and wait until it answers. ``folder``: private, for the configuration.

    Raises ChildError, with its last lines, if it ends or does not answer within 20 s.
    """
    port, udp_port = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    key, secret = f"local{secrets.token_hex(6)}", secrets.token_urlsafe(48)
    file = folder / "livekit.yaml"
    text = configuration(port=port, udp_port=udp_port, api_key=key, api_secret=secret)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    command = [str(binary), "--config", str(file)]
    child = await Child.start("livekit-server", command, plain_environment(), on_line=on_line)
    try:
        async with asyncio.timeout(START_S):
            await _answering(child, f"http://127.0.0.1:{port}/")
    except BaseException as e:
        await child.stop(1.0)
        if isinstance(e, TimeoutError):
            raise ChildError(f"livekit-server did not answer within {START_S:.0f} s") from e
        raise
    return child, LiveKitAccess(f"ws://127.0.0.1:{port}", key, Secret(secret))


async def _answering(child: Child, url: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            if not child.running:
                raise child.failure()
            try:
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


def free_port(kind: socket.SocketKind) -> int:
    """A port of loopback that is free now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
