"""Between STT and turn detection: the turn events, and the protocol of a turn detector.

The STT (``stt``) hands in VAD windows and hypotheses; a turn detector (``turn``, or plain silence) answers with turn
events. Neither imports the other: both import this module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .audio.samples import Int16


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began at ``at_s`` (start of the first window with speech)."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Preflight:
    """Request a provisional reply to ``text`` now. ``early``: the user still speaks."""

    text: str
    early: bool


@dataclass(frozen=True, slots=True)
class EndOfTurn:
    """The user has finished. ``speech_ended_s``: end of the last window with speech; ``waited_s``: silence until now.

    ``wait_s``: the silence that the evidence asked for; ``waited_s`` is longer where the reply was not ready.
    ``score``: the end-of-turn model's log-probability (None: no score).
    """

    text: str
    speech_ended_s: float
    waited_s: float
    wait_s: float
    score: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reopen:
    """The user went on before the reply was audible: the turn goes on after ``text``."""

    text: str


@dataclass(frozen=True, slots=True)
class CancelPreflight:
    """The words have changed: the reply to the last preflight does not fit any more."""


@dataclass(frozen=True, slots=True)
class Discard:
    """The speech was no turn: it had no words, or was none to answer (``reason``)."""

    reason: str


TurnEvent = SpeechStarted | Preflight | CancelPreflight | EndOfTurn | Reopen | Discard


class BaseTurnDetector(Protocol):
    """Evidence in (times are seconds of audio since the stream began), turn events out through the bound function.

    All methods are called on the event loop and must not block.
    """

    def bind(self, emit: Callable[[TurnEvent], None]) -> None: ...

    def window(self, end_s: float, probability: float, pcm: Int16) -> None: ...

    def text(self, text: str, covers_s: float, now_s: float) -> None: ...

    def advance(self, now_s: float) -> None: ...

    @property
    def in_speech(self) -> bool: ...

    @property
    def speech_ended_s(self) -> float: ...

    @property
    def loud_until_s(self) -> float:
        """End of the last window with speech and without an energy drop: at most ``speech_ended_s``."""
        ...

    @property
    def wants_confirmation(self) -> bool:
        """The text looks whole though the user still speaks: a pass with the same words would lead to a preflight."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class UserTurn:
    """One committed turn. ``*_at``: seconds on the monotonic clock; ``evidence``: for the ledger's row."""

    text: str
    speech_started_at: float
    speech_ended_at: float
    transcript_ready_at: float
    committed_at: float
    commit: EndOfTurn
    reopened: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)
