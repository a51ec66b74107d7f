"""What a call sends to the participants of its room that may know it: each turn's row, and the providers' quotas."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

from livekit import rtc

from .. import meter
from ..budget.export import to_row
from ..budget.ledger import Turn
from ..budget.turn_verdict import Budget
from ..meter import Snapshot
from .access import LEDGER_ATTRIBUTE, LEDGER_TOPIC, USAGE_TOPIC

log = logging.getLogger("voice_agent.room")


def may_know(participant: rtc.RemoteParticipant) -> bool:
    """Whether the participant's token carries the attribute. One that the participant could set itself does not
    count."""
    return participant.attributes.get(LEDGER_ATTRIBUTE) == "1" and not participant.permissions.can_update_metadata


async def send_turn(room: rtc.Room, turn: Turn, budget: Budget) -> None:
    """Send the turn's row to the participants that may know it; nothing to a room that is closed."""
    receivers = [p.identity for p in room.remote_participants.values() if may_know(p)]
    await _send(room, json.dumps(to_row(turn, budget), ensure_ascii=False), LEDGER_TOPIC, receivers)


USAGE_EVERY_S = 2.0
"""The meter makes a new reading as often."""


def usage_message(snapshot: Snapshot | None) -> str | None:
    """The providers that were asked today, as JSON (docs/rooms.md has the fields); None if there is none."""
    providers = []
    for reading in snapshot.providers.values() if snapshot is not None else ():
        if not reading.day.requests and reading.state == "ok":
            continue
        near = reading.highest
        providers.append(
            {
                "provider": reading.provider,
                "requests_today": reading.day.requests,
                "tokens_today": reading.day.tokens,
                "quota": None if near is None else near.name,
                "used": None if near is None else near.used,
                "limit": None if near is None else near.limit,
                "source": None if near is None else near.source,
                "state": reading.state,
            }
        )
    return json.dumps({"schema": 1, "providers": providers}) if providers else None


class UsagePublisher:
    """Sends the meter's figures to the participants that may know them: when they change, and to each that joins.

    ``read``: returns the last reading; it must not block.
    """

    def __init__(self, room: rtc.Room, read: Callable[[], Snapshot | None] = meter.snapshot) -> None:
        self._room = room
        self._read = read
        self._sent: dict[str, str] = {}  # participant's sid -> last message; one that returns has another sid

    async def follow(self) -> None:
        """Publish until cancelled."""
        while True:
            await self.publish()
            await asyncio.sleep(USAGE_EVERY_S)

    async def publish(self) -> None:
        """Send once."""
        if (message := usage_message(self._read())) is None:
            return
        people = [p for p in self._room.remote_participants.values() if may_know(p)]
        new = [p for p in people if self._sent.get(p.sid) != message]
        if await _send(self._room, message, USAGE_TOPIC, [p.identity for p in new]):
            self._sent = {p.sid: message for p in people}


async def _send(room: rtc.Room, text: str, topic: str, identities: list[str]) -> bool:
    if not identities or not room.isconnected():
        return False
    try:
        await room.local_participant.send_text(text, topic=topic, destination_identities=identities)
    except Exception as e:  # livekit.rtc raises plain exceptions for whatever the native side said
        log.warning("%s could not be sent to the room: %s", topic, e)
        return False
    return True
