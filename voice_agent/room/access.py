"""The address and key of a LiveKit server, and the topics and attributes that page, worker and callers share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..config import Secret, provider_key
from ..errors import ConfigError

LEDGER_TOPIC = "voice_agent.turn"
"""Text stream on which each turn's row (docs/ledger.md) is sent."""

USAGE_TOPIC = "voice_agent.usage"
"""Text stream on which the providers' quotas are sent, to the same participants (docs/rooms.md)."""

LEDGER_ATTRIBUTE = "voice_agent.ledger"
"""A participant whose token carries this attribute as ``1`` is sent the rows."""

URL, API_KEY, API_SECRET = "LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"
"""The variables that LiveKit's own programs read too."""

_ADDRESS = re.compile(r"(ws|http)(s?)://([\w.\-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?(/[\w./\-]*)?")


@dataclass(frozen=True, slots=True)
class LiveKitAccess:
    """Address and key of the LiveKit server. ``url`` begins with ``ws://`` or ``wss://``."""

    url: str
    api_key: str
    api_secret: Secret

    def environment(self) -> dict[str, str]:
        """The variables for a child process that uses the same server."""
        return {URL: self.url, API_KEY: self.api_key, API_SECRET: self.api_secret.reveal()}


def find_access(
    given: Mapping[str, str | None] | None = None, lookup: Callable[[str], Secret | None] = provider_key
) -> LiveKitAccess:
    """The server that the three variables name; ``given`` (by a variable's name) comes before ``lookup``.

    Raises ConfigError, naming what is missing, or for something that is no URL.
    """
    given = given or {}
    found = {name: Secret(value) if (value := given.get(name)) else lookup(name) for name in (URL, API_KEY, API_SECRET)}
    url, key, secret = found.values()
    if url is None or key is None or secret is None:
        missing = " and ".join(name for name, value in found.items() if value is None)
        raise ConfigError(f"set {missing}: where the LiveKit server is, and its key (docs/rooms.md)")
    return LiveKitAccess(websocket_url(url.reveal(), URL), key.reveal(), secret)


def websocket_url(url: str, name: str) -> str:
    """A LiveKit address as ``ws://`` or ``wss://``. ConfigError, calling it ``name``, for anything else."""
    found = _ADDRESS.fullmatch(url.strip())
    if found is None:
        raise ConfigError(f"{name} is not an address such as wss://livekit.example.org")
    return f"ws{found[2]}://{found[3]}{found[4] or ''}{(found[5] or '').rstrip('/')}"
