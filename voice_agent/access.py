"""Where a LiveKit server is, and the names under which page, worker and callers find each other's messages there."""

from __future__ import annotations

from dataclasses import dataclass

from .config import Secret

LEDGER_TOPIC = "voice_agent.turn"
"""Text stream on which each turn's row (docs/ledger.md) is sent."""

LEDGER_ATTRIBUTE = "voice_agent.ledger"
"""A participant whose token carries this attribute as ``1`` is sent the rows."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the LiveKit server is, and the key to it. ``url`` as ``ws://`` or ``wss://``."""

    url: str
    api_key: str
    api_secret: Secret
