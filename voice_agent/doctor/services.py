"""The LiveKit server, if one is configured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import aiohttp

from ..clock import SYSTEM, Clock
from ..room.access import API_KEY as KEY
from ..room.access import API_SECRET as SECRET
from ..room.access import URL
from .finding import Finding, Status
from .stages import KeyLookup

TIMEOUT_S = 8.0


def livekit(keys: KeyLookup, clock: Clock = SYSTEM) -> Iterator[Finding]:
    """Reach the server of ``LIVEKIT_URL``, see that it takes a token made with our key."""
    url, key, secret = keys(URL), keys(KEY), keys(SECRET)
    if url is None:
        yield Finding(Status.SKIPPED, f"{URL} is not set: only rooms on a server of your own need it")
        return
    address = url.reveal()
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("ws", "wss", "http", "https") and bool(parts.hostname)
        shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        fits, shown = False, ""
    if not fits:
        yield Finding(Status.FAILED, f"{URL} is no address", f"set it to something like {URL}=wss://your.server")
        return
    if key is None or secret is None:
        missing = " and ".join(name for name, value in ((KEY, key), (SECRET, secret)) if value is None)
        yield Finding(Status.FAILED, f"{missing} not set", "take them from the server's configuration or project page")
        return
    yield asyncio.run(_ask(address, shown, key.reveal(), secret.reveal(), clock))


async def _ask(url: str, shown: str, key: str, secret: str, clock: Clock) -> Finding:
    from livekit import api

    began = clock.now()
    limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with api.LiveKitAPI(url, key, secret, timeout=limit, failover=False) as server:
            rooms = await server.room.list_rooms(api.ListRoomsRequest())
    except api.TwirpError as error:
        if error.status in (401, 403):
            advice = f"check {KEY} and {SECRET}: they must be those of this server; and the clock of this machine"
            return Finding(Status.FAILED, f"{shown} refuses our token ({error.status})", advice)
        return Finding(Status.FAILED, f"{shown} answers {error.code} ({error.status})", "see the server's own log")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else "no connection"
        return Finding(
            Status.FAILED,
            f"{shown}: {why}",
            f"check {URL}, that the server runs, and the network",
            {"url": shown},
        )
    ms = (clock.now() - began) * 1000
    text = f"{shown}: reached in {ms:.0f} ms, token accepted, {len(rooms.rooms)} rooms open"
    return Finding(Status.OK, text, facts={"url": shown, "ms": round(ms, 1), "rooms": len(rooms.rooms)})
