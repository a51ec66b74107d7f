"""``--target``: through which end a script is played."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from ...config import Config, Secret, provider_key
from ...errors import ConfigError, UsageError
from ...room.access import URL, find_access
from .director import Judge, OnStep
from .load import Script
from .results import Result
from .runner import run_script


class Runner(Protocol):
    """Plays one script; the arguments are those of :func:`~.runner.run_script`."""

    def __call__(
        self,
        script: Script,
        config: Config,
        folder: Path,
        *,
        repeat: int = 1,
        warmup: int | None = None,
        seed: int = 0,
        judge: Judge | None = None,
        on_step: OnStep = ...,
        on_note: Callable[[str], None] = ...,
    ) -> Awaitable[Result]: ...


def runner_for(
    target: str, *, agent_name: str | None = None, secret: Callable[[str], Secret | None] = provider_key
) -> Runner:
    """``script``; ``room`` (the server is ``LIVEKIT_URL``); or the ws URL of a LiveKit server.

    ``secret``: looks up LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET. Raises UsageError, naming what there is.
    """
    if target == "script":
        return run_script
    if target != "room" and urlsplit(target).scheme not in ("ws", "wss"):
        raise UsageError(f"--target {target}: there are script, room, and the ws:// or wss:// URL of a LiveKit server")
    from .by_sound import Access, run_in_room

    try:
        server = find_access({URL: None if target == "room" else target}, secret)
    except ConfigError as e:
        raise UsageError(f"--target {target}: {e}; of other ws protocols than LiveKit's none is spoken") from e
    access = Access(server.url, server.api_key, server.api_secret, agent_name)
    return functools.partial(run_in_room, access=access)
