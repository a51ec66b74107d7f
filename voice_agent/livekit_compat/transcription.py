"""Words on the page as they are spoken, without guessing.

LiveKit shows a reply's words at the pace of its sound. Where the voice tells when each word is spoken, as ours does, it
goes by that, but measures the sound's speaking rate all the same (1.8.9: spectra of every 0.1 s, on the event loop),
and nobody reads it. With 8 calls that was a sixth of the time in which Python's lock was held.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from livekit.agents import AgentSession
from livekit.agents.utils import aio


class _NoRate:
    """In place of LiveKit's ``SpeakingRateStream``."""

    def __init__(self) -> None:
        self._none = aio.Chan[Any]()

    def push_frame(self, frame: Any) -> None:
        pass

    def end_input(self) -> None:
        self._none.close()

    async def aclose(self) -> None:
        self._none.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._none


class _NoDetector:
    def stream(self) -> _NoRate:
        return _NoRate()


def by_told_times(session: AgentSession[Any]) -> None:
    """Go by the times that the voice tells alone. The session has just started in a room: nothing has been said yet."""
    synchronizer = getattr(session.room_io, "_tr_synchronizer", None)  # no public name (1.8.9)
    if synchronizer is not None and hasattr(synchronizer._opts, "speaking_rate_detector"):
        synchronizer._opts.speaking_rate_detector = _NoDetector()
        synchronizer.rotate_segment()  # what is there for the first reply measures as before
