"""What the ears and the turn say to each other: values, and the protocol between the two.

The ears (``stt``) report windows and hypotheses; a turn taker (``turn``, or plain silence) answers with decisions. They
do not import each other: both import this.
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
    """Ask the model now, provisionally, on ``text``. ``early``: the user is still speaking."""

    text: str
    early: bool


@dataclass(frozen=True, slots=True)
class EndOfTurn:
    """The user has finished. ``speech_ended_s``: end of the last window with speech; ``waited_s``: silence until now.

    ``wanted_s`` is the silence the evidence asked for; ``waited_s`` may be more where the reply was not ready anyway.
    ``score`` and ``acoustic`` are the evidence (None where there was none).
    """

    text: str
    speech_ended_s: float
    waited_s: float
    wanted_s: float
    score: float | None = None
    acoustic: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reopen:
    """The user went on before anything was audible: ``text`` is the beginning of the same turn."""

    text: str


@dataclass(frozen=True, slots=True)
class CancelPreflight:
    """The words have moved on for good: the reply asked for last cannot fit any more."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Sound without words: no turn."""

    reason: str


TurnEvent = SpeechStarted | Preflight | CancelPreflight | EndOfTurn | Reopen | Discard


class BaseTurnDetector(Protocol):
    """Evidence in (times are seconds of audio since the stream began), decisions out through the bound function.

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
        """End of the last window in which the voice was not fading: at most ``speech_ended_s``."""
        ...

    @property
    def wants_confirmation(self) -> bool:
        """The text looks whole though the user still speaks: another look at the same words would decide."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class UserTurn:
    """One committed turn as the ears saw it. ``*_at`` are seconds on the monotonic clock, as the ledger wants them."""

    text: str
    speech_started_at: float
    speech_ended_at: float
    transcript_ready_at: float
    committed_at: float
    commit: EndOfTurn
    reopened: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)
