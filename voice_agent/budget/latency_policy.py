"""What to do when a turn is late: pure decisions, time as an argument. docs/budget.md tells the whole ladder.

:class:`LatencyHistory` remembers how long a provider takes to its first content and answers three questions: when is it late
(:meth:`LatencyHistory.hedge_after_s`), how long will it still take (:meth:`LatencyHistory.rest_s`), when can it be ready at the earliest
(:meth:`LatencyHistory.soonest_s`). :class:`HedgeBudget` bounds what second requests cost. :class:`TurnDeadlines` are a turn's total
and stage deadlines. :class:`Acknowledger` says whether and what to say meanwhile, :func:`few_words_first` whether
fewer words may be spoken first without a gap, :class:`Degrader` whether later turns should go on with less.
"""

from __future__ import annotations

import bisect
import math
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import DegradationConfig
from .path import Stage
from .stats import percentile

KEPT_REQUESTS = 200
"""Requests that a pace is made from: a fast talker's half hour, so that it follows the provider through the day."""
ENOUGH_REQUESTS = 10
AFFORDED = 0.85
"""Of the token budget, what the hedge point plans to spend: a P90 alone would ask twice in every tenth request."""
GRACE_REQUESTS = 25
"""The budget starts as if so many requests like the cheapest had been made: else the first late turns could never be
helped."""
RESERVED = 0.2
"""Of the budget, for requests that are very late: most of them are stalls."""
VERY_LATE = 1.5
"""Later than the hedge point by this factor: for log-normal times (sigma 0.4) one request in a hundred, or a stall."""
SURELY = 10.0
"""A percentile: nine in ten of the requests that took longer than this one has took at least :meth:`LatencyHistory.rest_s` more.
A median would say a short word before answers that come at once, and those then wait for its end."""
SOONEST_QUANTILE = 10.0
"""One reply in ten is ready sooner than :meth:`LatencyHistory.soonest_s`."""


class LatencyHistory:
    """Seconds that one provider's latest requests took to their first content.

    A request that was given up after ``s`` counts as ``s`` (:meth:`add` it): it took at least that long, and quantiles
    below that point are what they would be if it had been waited for.
    """

    def __init__(self, kept: int = KEPT_REQUESTS) -> None:
        self._latest: deque[float] = deque(maxlen=kept)
        self._ordered: list[float] = []

    def add(self, took_s: float) -> None:
        """One request's time. ValueError if it is no duration."""
        if not (math.isfinite(took_s) and took_s >= 0):
            raise ValueError(f"{took_s} is not a duration")
        if len(self._latest) == self._latest.maxlen:
            del self._ordered[bisect.bisect_left(self._ordered, self._latest[0])]
        self._latest.append(took_s)
        bisect.insort(self._ordered, took_s)

    def __len__(self) -> int:
        return len(self._ordered)

    def quantile_s(self, share: float) -> float | None:
        """The time that ``share`` (0 to 1) of the requests kept within; None while too few were seen."""
        return percentile(self._ordered, 100 * share) if len(self) >= ENOUGH_REQUESTS else None

    def hedge_after_s(self, config: DegradationConfig) -> float:
        """How long to wait before a second request is sent: the quantile of the settings, or the later one that the
        token budget affords (a request in ten asked twice costs a tenth of the prompts once more)."""
        afforded = 1.0 - AFFORDED * config.hedge_tokens
        known = self.quantile_s(max(config.hedge_quantile, afforded))
        late_s = config.hedge_start_ms / 1000 if known is None else known
        return max(config.hedge_min_ms / 1000, late_s)

    def rest_s(self, waited_s: float) -> float:
        """How much longer a request that has waited for ``waited_s`` will almost surely take: nine in ten of those
        that took longer did. Of none, or while too few were seen: as long again as it has waited (heavy tails do)."""
        if len(self) < ENOUGH_REQUESTS:
            return waited_s
        longer = self._ordered[bisect.bisect_right(self._ordered, waited_s) :]
        return percentile(longer, SURELY) - waited_s if longer else waited_s

    def soonest_s(self) -> float | None:
        """Before this, a reply is not to be expected. None while too few were seen."""
        return self.quantile_s(SOONEST_QUANTILE / 100)


class HedgeBudget:
    """What second requests may cost: a share of all tokens, and a number a minute."""

    def __init__(self, config: DegradationConfig) -> None:
        self._share = config.hedge_tokens
        self._per_minute = config.hedge_per_minute
        self._sent: deque[float] = deque()
        self._cheapest: int | None = None
        self.tokens = 0
        """All tokens so far, prompts and completions, of all requests."""
        self.extra = 0
        """Of these, what second requests have cost: what was asked and written for nobody."""

    def used(self, tokens: int) -> None:
        """A request has cost so much."""
        self.tokens += tokens

    def lost(self, tokens: int) -> None:
        """Of two requests, the one that was not taken has cost so much."""
        self.tokens += tokens
        self.extra += tokens

    @property
    def share(self) -> float:
        """Extra tokens as a share of those that would have been used without them."""
        needed = self.tokens - self.extra
        return self.extra / needed if needed else 0.0

    def allows(self, cost: int, now_s: float, *, very_late: bool = False, aside: bool = False) -> bool:
        """Whether a second request that costs about ``cost`` tokens may be sent now. ``aside``: it is no turn's, so
        nothing is lent to it."""
        if not aside:
            self._cheapest = cost if self._cheapest is None else min(cost, self._cheapest)
        while self._sent and self._sent[0] <= now_s - 60.0:
            self._sent.popleft()
        if len(self._sent) >= self._per_minute:
            return False
        share = self._share * (1.0 if very_late else 1.0 - RESERVED)
        lent = 0 if aside or self._cheapest is None else GRACE_REQUESTS * self._cheapest
        return self.extra + cost <= share * (self.tokens - self.extra + lent)

    def sent(self, now_s: float) -> None:
        """A second request was sent."""
        self._sent.append(now_s)


@dataclass(frozen=True, slots=True)
class TurnDeadlines:
    """When a turn is due, in seconds: the whole way, and what the stages after the first content need."""

    total_s: float
    llm_s: float
    voice_s: float

    def at_risk(self, now_s: float, *, speech_ended_s: float | None, requested_s: float | None) -> bool:
        """Whether what is left cannot be done in time: of the turn if it is known when the user ended, else of the
        model's own share."""
        if speech_ended_s is not None:
            return now_s + self.voice_s > speech_ended_s + self.total_s
        return requested_s is not None and now_s > requested_s + self.llm_s


SPOKEN_WORDS_PER_S = 3.0
"""A Piper voice at its own pace says 2.6 to 3.2 words a second."""


def few_words_first(
    words: int, *, next_words: int, written_per_s: float | None, first_sound_s: float, spare_s: float = 0.15
) -> bool:
    """Whether ``words`` may be spoken alone: the next chunk of up to ``next_words`` is written, and its first sound
    made, before they are over. ``written_per_s``: words a second from the model; None: not known, so no."""
    if written_per_s is None or written_per_s <= 0:
        return False
    return next_words / written_per_s + first_sound_s + spare_s <= words / SPOKEN_WORDS_PER_S


_ASKS = re.compile(
    r"(?i)^(?:(?:and|but|so|well|okay|ok|hey|hi|hello|please|um|uh)[\s,]+)*(?:who|whose|what|what's|when|where|why|which"
    r"|how|is|are|was|were|do|does|did|can|could|will|would|should|shall|may|have|has|tell|explain|give|find|show)\b"
)


class Acknowledger:
    """Whether to say a short word first, and which: never in two turns in a row, never the same one twice in a row."""

    def __init__(self, config: DegradationConfig) -> None:
        self._rest_s = config.acknowledge_rest_ms / 1000
        self.question = phrases(config.acknowledge_question)
        self.other = phrases(config.acknowledge_other)
        self._next = {True: 0, False: 0}
        self._last_turn: int | None = None

    def due(self, turn: int, rest_s: float | None) -> bool:
        """In the ``turn``-th turn, with the answer's sound ``rest_s`` away (None: nobody knows)."""
        if rest_s is None or rest_s <= self._rest_s:
            return False
        return self._last_turn is None or turn > self._last_turn + 1

    def choose(self, turn: int, user_text: str) -> str | None:
        """What is said; remembered as said. None if there is nothing that fits."""
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
    """A change of what later turns go on with."""

    stage: Stage
    level: int
    why: str


class Degrader:
    """Late turn after turn, and whose fault it was -> less for that stage; well within the budget again -> back.

    ``levels``: how far down each stage can go. Up and down have different thresholds, so that nothing swings.
    """

    def __init__(self, config: DegradationConfig, levels: dict[Stage, int]) -> None:
        self._after, self._recover = config.degrade_after, config.recover_after
        self._levels = levels
        self._latest: deque[Stage | None] = deque(maxlen=LATEST)
        self._well = 0
        self.level: dict[Stage, int] = dict.fromkeys(levels, 0)
        self._order: list[Stage] = []

    def turn(self, total_ms: float, budget_ms: float, guilty: Stage | None) -> DegradationChange | None:
        """One answered turn: what it took, what it might have taken, and the guilty stage (None: within the budget)."""
        self._latest.append(guilty)
        self._well = self._well + 1 if total_ms <= WELL_WITHIN * budget_ms else 0
        late = [stage for stage in self._latest if stage is not None]
        if len(late) >= self._after:
            stage = max(dict.fromkeys(late), key=late.count)
            if self.level.get(stage, 0) < self._levels.get(stage, 0):
                self.level[stage] += 1
                self._order.append(stage)
                self._again()
                return DegradationChange(
                    stage, self.level[stage], f"{len(late)} of {LATEST} turns were late, mostly for {stage}"
                )
        elif self._well >= self._recover and self._order:
            stage = self._order.pop()  # the last one taken is the first one back
            self.level[stage] -= 1
            self._again()
            return DegradationChange(
                stage, self.level[stage], f"{self._recover} turns in a row were well within the budget"
            )
        return None

    def refused(self, stage: Stage) -> None:
        """The last step down of ``stage`` was not taken after all."""
        self.level[stage] -= 1
        del self._order[len(self._order) - 1 - self._order[::-1].index(stage)]

    def _again(self) -> None:
        self._latest.clear()
        self._well = 0


def soonest_of(rests: Sequence[float | None]) -> float | None:
    """Of several requests under way, the one expected first; None if nothing is known of one of them."""
    known = [rest for rest in rests if rest is not None]
    return min(known) if known and len(known) == len(rests) else None


__all__ = [
    "VERY_LATE",
    "Acknowledger",
    "DegradationChange",
    "Degrader",
    "HedgeBudget",
    "LatencyHistory",
    "TurnDeadlines",
    "few_words_first",
    "phrases",
    "soonest_of",
]
