"""``--target``: which agent a script is played to."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from ...config import Secret, provider_key
from ...errors import ConfigError, UsageError
from ...room.access import URL, find_access
from .room_end import RoomTarget
from .runner import Target


def target_for(
    name: str, *, agent_name: str | None = None, secret: Callable[[str], Secret | None] = provider_key
) -> Target:
    """``script``; ``room`` (the server is ``LIVEKIT_URL``); or the ws URL of a LiveKit server.

    ``secret``: looks up LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET. Raises UsageError, naming what there is.
    """
    if name == "script":
        from .harness_end import HarnessTarget  # with the models' packages, which a light install does not have

        return HarnessTarget()
    if name != "room" and urlsplit(name).scheme not in ("ws", "wss"):
        raise UsageError(f"--target {name}: there are script, room, and the ws:// or wss:// URL of a LiveKit server")
    try:
        access = find_access({URL: None if name == "room" else name}, secret)
    except ConfigError as e:
        raise UsageError(f"--target {name}: {e}; of other ws protocols than LiveKit's none is spoken") from e
    return RoomTarget(access, agent_name)
