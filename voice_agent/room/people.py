"""Whom the agent hears, and when it leaves.

The first person in the room is heard (LiveKit links one participant). If that one leaves, the one who came next is;
somebody who comes back into a room where nobody else is heard is heard again. A room that is empty for a while is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.job import DEFAULT_PARTICIPANT_KINDS

log = logging.getLogger("voice_agent.room")


class People:
    """Follows one room from when the session has been started in it. ``on_empty``: nobody has been there for
    ``empty_s``."""

    def __init__(
        self, room: rtc.Room, session: AgentSession[Any], *, empty_s: float, on_empty: Callable[[], None]
    ) -> None:
        self._room = room
        self._session = session
        self._empty_s = empty_s
        self._on_empty = on_empty
        self._came: list[str] = []  # identities, in order
        self._timer: asyncio.TimerHandle | None = None
        room.on("participant_connected", self._connected)
        room.on("participant_disconnected", self._disconnected)
        for participant in room.remote_participants.values():
            self._connected(participant)
        self._maybe_leave()

    @property
    def anybody(self) -> bool:
        """Whether there is somebody to talk to. From any thread."""
        return bool(self._came)

    def no_waiting(self) -> None:
        """From now on an empty room is left at once: the worker ends."""
        self._empty_s = 0.0
        self._stop_timer()
        self._maybe_leave()

    def close(self) -> None:
        """Follow no longer."""
        self._room.off("participant_connected", self._connected)
        self._room.off("participant_disconnected", self._disconnected)
        self._stop_timer()

    def _connected(self, participant: rtc.RemoteParticipant) -> None:
        if participant.kind not in DEFAULT_PARTICIPANT_KINDS:
            return
        self._stop_timer()
        if participant.identity not in self._came:
            self._came.append(participant.identity)
        linked = self._session.room_io.linked_participant
        if linked is None or linked.identity == participant.identity:
            self._hear(participant.identity)

    def _disconnected(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity not in self._came:
            return
        self._came.remove(participant.identity)
        linked = self._session.room_io.linked_participant
        if linked is None or linked.identity == participant.identity:  # LiveKit unlinks before or after this
            if self._came:
                self._hear(self._came[0])
            else:
                self._session.room_io.unset_participant()
        self._maybe_leave()

    def _hear(self, identity: str) -> None:
        log.info("hearing %s in %s", identity, self._room.name)
        self._session.room_io.set_participant(identity)

    def _maybe_leave(self) -> None:
        if not self._came and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._empty_s, self._on_empty)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
