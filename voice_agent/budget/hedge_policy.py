"""When a second LLM request is sent, and what second requests may cost. Pure: time is an argument.

:class:`LatencyHistory` holds the latencies of one provider and answers three questions: when is a request late
(:meth:`~LatencyHistory.hedge_after_s`), how much longer will it take (:meth:`~LatencyHistory.rest_s`), and how soon
can an answer come (:meth:`~LatencyHistory.soonest_s`). :class:`HedgeBudget` bounds the tokens and the rate of second
requests.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Sequence

from ..config import DegradationConfig
from .stats import percentile

KEPT_REQUESTS = 200
"""Length of a latency history: about half an hour of fast talk, so that it follows the provider through the day."""
ENOUGH_REQUESTS = 10
AFFORDED = 0.85
"""Share of the token budget that the hedge point plans to spend. A P90 alone would send one request in ten twice."""
GRACE_REQUESTS = 25
"""The budget starts as if this many requests like the cheapest one had been made. Otherwise no second request would be
allowed for the first late turns."""
RESERVED = 0.2
"""Share of the token budget that is kept for very late requests: most of them are stalls."""
VERY_LATE = 1.5
"""Factor on the hedge point above which a request is very late. With log-normal times (sigma 0.4) this is one request
in a hundred, or a stall."""
SURELY = 10.0
"""Percentile for :meth:`LatencyHistory.rest_s`: of the requests that took longer than this one has waited, nine in ten
took at least that much more. With the median, acknowledgements would be spoken before answers that come at once, and
those answers would wait for their end."""
SOONEST_PERCENTILE = 10.0
"""Percentile for :meth:`LatencyHistory.soonest_s`: one reply in ten is ready sooner."""


class LatencyHistory:
    """The latest latencies of one provider, in seconds, such as the times to the first content.

    For a request that was given up after ``s`` seconds, add ``s``: it took at least that long, and quantiles below
    that value are the same as if it had been awaited.
    """

    def __init__(self, kept: int = KEPT_REQUESTS) -> None:
        self._latest: deque[float] = deque(maxlen=kept)
        self._ordered: list[float] = []

    def add(self, took_s: float) -> None:
        """Add one latency. Raises ValueError if it is negative or not finite."""
        if not (math.isfinite(took_s) and took_s >= 0):
            raise ValueError(f"{took_s} is not a duration")
        if len(self._latest) == self._latest.maxlen:
            del self._ordered[bisect.bisect_left(self._ordered, self._latest[0])]
        self._latest.append(took_s)
        bisect.insort(self._ordered, took_s)

    def __len__(self) -> int:
        return len(self._ordered)

    def quantile_s(self, share: float) -> float | None:
        """The latency that ``share`` (0 to 1) of the requests did not exceed; None with fewer than ten requests."""
        return percentile(self._ordered, 100 * share) if len(self) >= ENOUGH_REQUESTS else None

    def hedge_after_s(self, config: DegradationConfig) -> float:
        """Seconds to wait before a second request is sent.

        This is the configured quantile, or a higher one if the token budget affords no more: sending one request in ten
        twice costs a tenth of the prompts once more.
        """
        afforded = 1.0 - AFFORDED * config.hedge_tokens
        known = self.quantile_s(max(config.hedge_quantile, afforded))
        late_s = config.hedge_start_ms / 1000 if known is None else known
        return max(config.hedge_min_ms / 1000, late_s)

    def rest_s(self, waited_s: float) -> float:
        """How much longer a request that has waited for ``waited_s`` will take at least, with 90 % probability.

        Estimated from the requests that took longer. With none, or with fewer than ten requests in all, the estimate is
        ``waited_s`` again, as for a heavy-tailed distribution.
        """
        if len(self) < ENOUGH_REQUESTS:
            return waited_s
        longer = self._ordered[bisect.bisect_right(self._ordered, waited_s) :]
        return percentile(longer, SURELY) - waited_s if longer else waited_s

    def soonest_s(self) -> float | None:
        """The tenth percentile of the latencies; None with fewer than ten requests."""
        return self.quantile_s(SOONEST_PERCENTILE / 100)


class HedgeBudget:
    """Bounds second requests: their share of all tokens, and their number a minute."""

    def __init__(self, config: DegradationConfig) -> None:
        self._share = config.hedge_tokens
        self._per_minute = config.hedge_per_minute
        self._sent: deque[float] = deque()
        self._cheapest: int | None = None
        self.tokens = 0
        """Tokens of all requests so far, prompts and completions."""
        self.extra = 0
        """Tokens of requests whose answer was not used."""

    def used(self, tokens: int) -> None:
        """Count the tokens of a request whose answer was used."""
        self.tokens += tokens

    def lost(self, tokens: int) -> None:
        """Count the tokens of a request whose answer was not used."""
        self.tokens += tokens
        self.extra += tokens

    @property
    def share(self) -> float:
        """Extra tokens as a share of the tokens that would have been used without second requests."""
        needed = self.tokens - self.extra
        return self.extra / needed if needed else 0.0

    def allows(self, cost: int, now_s: float, *, very_late: bool = False, background: bool = False) -> bool:
        """Whether a second request of about ``cost`` tokens may be sent now.

        ``background``: the request belongs to no turn, so the grace requests do not count for it.
        """
        if not background:
            self._cheapest = cost if self._cheapest is None else min(cost, self._cheapest)
        while self._sent and self._sent[0] <= now_s - 60.0:
            self._sent.popleft()
        if len(self._sent) >= self._per_minute:
            return False
        share = self._share * (1.0 if very_late else 1.0 - RESERVED)
        lent = 0 if background or self._cheapest is None else GRACE_REQUESTS * self._cheapest
        return self.extra + cost <= share * (self.tokens - self.extra + lent)

    def sent(self, now_s: float) -> None:
        """Record that a second request was sent."""
        self._sent.append(now_s)


def soonest_of(rests_s: Sequence[float | None]) -> float | None:
    """The smallest of the remaining times of several requests; None if one of them is unknown."""
    known = [rest for rest in rests_s if rest is not None]
    return min(known) if known and len(known) == len(rests_s) else None
