"""LiveKit tokens for one call each, and a limit on how many are issued.

A token names a new room, lets its holder publish a microphone there and nothing more, and expires after minutes. The
server makes room, identity, attributes and the agent's dispatch; nothing in the token comes from the caller.
"""

from __future__ import annotations

import datetime
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from livekit import api

from ..clock import SYSTEM, Clock
from ..room.access import LEDGER_ATTRIBUTE, LiveKitAccess


@dataclass(frozen=True, slots=True)
class CallToken:
    """What a browser needs to join its call."""

    token: str
    room: str
    identity: str


class TokenIssuer:
    """Issues tokens. ``agent_name``: the worker to dispatch to the room; empty: a worker that joins every room."""

    def __init__(self, access: LiveKitAccess, *, agent_name: str, ttl_s: float, ledger: bool = True) -> None:
        self._access = access
        self._agent_name = agent_name
        self._ttl = datetime.timedelta(seconds=ttl_s)
        self._ledger = ledger

    def issue(self) -> CallToken:
        """A token for a new room, with a new identity."""
        room, identity = f"call-{secrets.token_hex(16)}", f"caller-{secrets.token_hex(8)}"
        grants = api.VideoGrants(
            room_join=True,
            room=room,
            can_publish=True,
            can_publish_sources=["microphone"],
            can_subscribe=True,
            can_publish_data=True,  # typed words, and the request to interrupt
            can_update_own_metadata=False,
        )
        # An abandoned room is closed after half a minute; until then a caller may come back.
        config = api.RoomConfiguration(empty_timeout=30, departure_timeout=30)
        if self._agent_name:
            config.agents.append(api.RoomAgentDispatch(agent_name=self._agent_name))
        token = (
            api.AccessToken(self._access.api_key, self._access.api_secret.reveal())
            .with_identity(identity)
            .with_name("Caller")
            .with_ttl(self._ttl)
            .with_grants(grants)
            .with_room_config(config)
        )
        if self._ledger:
            token = token.with_attributes({LEDGER_ATTRIBUTE: "1"})
        return CallToken(token.to_jwt(), room, identity)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """A token bucket for each client and one for all: a rate per minute, and a burst of as many requests.

    It remembers at most ``remembered`` clients and forgets the least recently seen one first. The limit for all also
    holds for a caller who uses many addresses.
    """

    def __init__(
        self, *, client_per_minute: int, total_per_minute: int, clock: Clock = SYSTEM, remembered: int = 4096
    ) -> None:
        self._client_rate, self._total_rate = client_per_minute, total_per_minute
        self._clock = clock
        self._remembered = remembered
        self._clients: OrderedDict[str, _Bucket] = OrderedDict()
        self._total = _Bucket(total_per_minute, clock.now())

    def take(self, client: str) -> float:
        """Count one request of ``client``: 0.0 if it is allowed, else the seconds after which to try again."""
        wait = self.wait(client)
        if wait == 0.0:
            self._clients[client].tokens -= 1
            self._total.tokens -= 1
        return wait

    def wait(self, client: str) -> float:
        """The seconds until :meth:`take` allows a request of ``client``; 0.0: now."""
        now = self._clock.now()
        mine = self._clients.setdefault(client, _Bucket(self._client_rate, now))
        self._clients.move_to_end(client)
        while len(self._clients) > self._remembered:
            self._clients.popitem(last=False)
        return max(_refilled(mine, self._client_rate, now), _refilled(self._total, self._total_rate, now))

    def __len__(self) -> int:
        """The number of remembered clients."""
        return len(self._clients)


def _refilled(bucket: _Bucket, per_minute: int, now: float) -> float:
    """Add the tokens of the time that has passed; returns the seconds until ``bucket`` holds a whole token."""
    bucket.tokens = min(float(per_minute), bucket.tokens + (now - bucket.at) * per_minute / 60)
    bucket.at = now
    return 0.0 if bucket.tokens >= 1 - 1e-9 else (1 - bucket.tokens) * 60 / per_minute
