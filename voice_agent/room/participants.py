"""Which participant the agent listens to, and when it leaves the room.

LiveKit links one participant to a session. The first that joins is linked. When it leaves, the one that joined next is
linked. One that returns to a room where no other is linked is linked again. A room that stays empty is left.
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


class Participants:
    """Follows one room; make it after the session has been started there.

    ``on_empty`` is called when no participant has been there for ``empty_s`` seconds.
    """

    def __init__(
        self, room: rtc.Room, session: AgentSession[Any], *, empty_s: float, on_empty: Callable[[], None]
    ) -> None:
        self._room = room
        self._session = session
        self._empty_s = empty_s
        self._on_empty = on_empty
        self._present: list[str] = []  # identities, in the order they joined
        self._timer: asyncio.TimerHandle | None = None
        room.on("participant_connected", self._connected)
        room.on("participant_disconnected", self._disconnected)
        for participant in room.remote_participants.values():
            self._connected(participant)
        self._maybe_leave()

    @property
    def any_present(self) -> bool:
        """Whether there is somebody to talk to. From any thread."""
        return bool(self._present)

    def leave_when_empty(self) -> None:
        """From now on an empty room is left at once (the worker ends)."""
        self._empty_s = 0.0
        self._stop_timer()
        self._maybe_leave()

    def close(self) -> None:
        """Stop following the room."""
        self._room.off("participant_connected", self._connected)
        self._room.off("participant_disconnected", self._disconnected)
        self._stop_timer()

    def _connected(self, participant: rtc.RemoteParticipant) -> None:
        if participant.kind not in DEFAULT_PARTICIPANT_KINDS:
            return
        self._stop_timer()
        if participant.identity not in self._present:
            self._present.append(participant.identity)
        linked = self._session.room_io.linked_participant
        if linked is None or linked.identity == participant.identity:
            self._listen_to(participant.identity)

    def _disconnected(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity not in self._present:
            return
        self._present.remove(participant.identity)
        linked = self._session.room_io.linked_participant
        if linked is None or linked.identity == participant.identity:  # LiveKit unlinks before or after this
            if self._present:
                self._listen_to(self._present[0])
            else:
                self._session.room_io.unset_participant()
        self._maybe_leave()

    def _listen_to(self, identity: str) -> None:
        log.info("listening to %s in %s", identity, self._room.name)
        self._session.room_io.set_participant(identity)

    def _maybe_leave(self) -> None:
        if not self._present and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._empty_s, self._on_empty)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
