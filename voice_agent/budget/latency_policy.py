"""What to do when a turn is late, besides a second request. Pure: time is an argument. docs/budget.md lists the steps.

:class:`TurnDeadlines` tells whether a turn is at risk, :func:`few_words_first` whether a smaller first chunk leaves no
gap, :class:`Acknowledger` whether an acknowledgement is spoken and which, :class:`Degrader` whether later turns use
less. Second requests are in :mod:`.hedge_policy`.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from ..config import DegradationConfig
from .path import Stage


@dataclass(frozen=True, slots=True)
class TurnDeadlines:
    """Deadlines of a turn, in seconds: the total, the LLM's share, and what TTS and output need after it."""

    total_s: float
    llm_s: float
    voice_s: float

    def at_risk(self, now_s: float, *, speech_ended_s: float | None, requested_s: float | None) -> bool:
        """Whether the remaining work no longer fits: into the turn if ``speech_ended_s`` is known, otherwise into the
        LLM's own share after ``requested_s``."""
        if speech_ended_s is not None:
            return now_s + self.voice_s > speech_ended_s + self.total_s
        return requested_s is not None and now_s > requested_s + self.llm_s


SPOKEN_WORDS_PER_S = 3.0
"""Measured: a Piper voice at its default speed says 2.6 to 3.2 words a second."""


def few_words_first(
    words: int, *, next_words: int, written_per_s: float | None, first_sound_s: float, spare_s: float = 0.15
) -> bool:
    """Whether the first ``words`` words may be synthesized alone without a gap after them.

    True if the next chunk (up to ``next_words`` words) is written and its first audio made before they are spoken.
    ``written_per_s``: words a second from the LLM; None (unknown) gives False.
    """
    if written_per_s is None or written_per_s <= 0:
        return False
    return next_words / written_per_s + first_sound_s + spare_s <= words / SPOKEN_WORDS_PER_S


_ASKS = re.compile(
    r"(?i)^(?:(?:and|but|so|well|okay|ok|hey|hi|hello|please|um|uh)[\s,]+)*(?:who|whose|what|what's|when|where|why|which"
    r"|how|is|are|was|were|do|does|did|can|could|will|would|should|shall|may|have|has|tell|explain|give|find|show)\b"
)


class Acknowledger:
    """Decides whether an acknowledgement ("Let me see.") is spoken before a late answer, and which one.

    Never in two turns in a row, and never the same phrase twice in a row.
    """

    def __init__(self, config: DegradationConfig) -> None:
        self._rest_s = config.acknowledge_rest_ms / 1000
        self.question = phrases(config.acknowledge_question)
        self.other = phrases(config.acknowledge_other)
        self._next = {True: 0, False: 0}
        self._last_turn: int | None = None

    def due(self, turn: int, rest_s: float | None) -> bool:
        """Whether turn number ``turn`` gets one, with ``rest_s`` seconds to the answer's first audio (None:
        unknown)."""
        if rest_s is None or rest_s <= self._rest_s:
            return False
        return self._last_turn is None or turn > self._last_turn + 1

    def choose(self, turn: int, user_text: str) -> str | None:
        """The phrase for this turn, which is recorded as spoken; None if none is configured."""
        asks = bool(_ASKS.match(user_text.strip())) or user_text.rstrip().endswith("?")
        fitting = (self.question if asks else self.other) or self.question or self.other
        if not fitting:
            return None
        said = fitting[self._next[asks] % len(fitting)]
        self._next[asks] += 1
        self._last_turn = turn
        return said


def phrases(text: str) -> tuple[str, ...]:
    """``"Okay., Right."`` -> its phrases."""
    return tuple(phrase for part in text.split(",") if (phrase := part.strip()))


LATEST = 5
WELL_WITHIN = 0.8


@dataclass(frozen=True, slots=True)
class DegradationChange:
    """``stage`` goes to ``level`` (0: as configured) for later turns, and the reason in words."""

    stage: Stage
    level: int
    why: str


class Degrader:
    """Lowers a stage's level after several late turns, and raises it again after turns well within the budget.

    ``levels``: the number of levels of each stage. The thresholds down and up differ (hysteresis).
    """

    def __init__(self, config: DegradationConfig, levels: dict[Stage, int]) -> None:
        self._after, self._recover = config.degrade_after, config.recover_after
        self._levels = levels
        self._latest: deque[Stage | None] = deque(maxlen=LATEST)
        self._well = 0
        self.level: dict[Stage, int] = dict.fromkeys(levels, 0)
        self._order: list[Stage] = []

    def turn(self, total_ms: float, budget_ms: float, guilty: Stage | None) -> DegradationChange | None:
        """Count one answered turn: its voice-to-voice time, its budget, its guilty stage (None: within the budget)."""
        self._latest.append(guilty)
        self._well = self._well + 1 if total_ms <= WELL_WITHIN * budget_ms else 0
        late = [stage for stage in self._latest if stage is not None]
        if len(late) >= self._after:
            stage = max(dict.fromkeys(late), key=late.count)
            if self.level.get(stage, 0) < self._levels.get(stage, 0):
                self.level[stage] += 1
                self._order.append(stage)
                self._restart()
                why = f"{len(late)} of {LATEST} turns were late, mostly for {stage}"
                return DegradationChange(stage, self.level[stage], why)
        elif self._well >= self._recover and self._order:
            stage = self._order.pop()  # the change that was made last is undone first
            self.level[stage] -= 1
            self._restart()
            why = f"{self._recover} turns in a row were well within the budget"
            return DegradationChange(stage, self.level[stage], why)
        return None

    def refused(self, stage: Stage) -> None:
        """The last change of ``stage`` could not be carried out; take it back."""
        self.level[stage] -= 1
        del self._order[len(self._order) - 1 - self._order[::-1].index(stage)]

    def _restart(self) -> None:
        self._latest.clear()
        self._well = 0
