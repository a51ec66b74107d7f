"""Words on the page at the times that the voice gives, without measuring its speaking rate.

LiveKit shows a reply's words at the pace of its audio. Where the voice gives the time of each word, as ours does,
LiveKit goes by those times, but measures the speaking rate all the same (1.8.9: spectra of every 0.1 s, on the event
loop), and nothing reads it. With 8 calls that was a sixth of the time in which Python's lock was held.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from livekit.agents import AgentSession
from livekit.agents.utils import aio

from .symbols import Symbol, all_found

_LOST = "the speaking rate of each reply is measured, and not used"
_SYNCHRONIZER = "livekit.agents.voice.transcription.synchronizer"
SYMBOLS = (
    Symbol(
        "livekit-agents", "livekit.agents.voice.room_io.room_io", "RoomIO._tr_synchronizer", _LOST, set_in="__init__"
    ),
    Symbol("livekit-agents", _SYNCHRONIZER, "TranscriptSynchronizer._opts", _LOST, set_in="__init__"),
    Symbol("livekit-agents", _SYNCHRONIZER, "TranscriptSynchronizer.rotate_segment", _LOST),
    Symbol("livekit-agents", _SYNCHRONIZER, "_TextSyncOptions.speaking_rate_detector", _LOST, set_in="__init__"),
)


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


def skip_speaking_rate(session: AgentSession[Any]) -> None:
    """Go by the word times of the voice alone. The session has just started in a room: nothing has been said yet."""
    if not all_found(*SYMBOLS):
        return
    synchronizer = session.room_io._tr_synchronizer
    if synchronizer is not None:  # the session publishes transcripts
        synchronizer._opts.speaking_rate_detector = _NoDetector()  # type: ignore[assignment]
        synchronizer.rotate_segment()  # what is there for the first reply measures as before
