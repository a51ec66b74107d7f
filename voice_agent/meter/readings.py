"""What the meter shows, as values: the level of a quota, a provider's reading, a snapshot of all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from .quota import WINDOW_S, Price, Quota, QuotaName
from .store import Totals, day_start

QuotaState = Literal["ok", "warn", "full"]


@dataclass(frozen=True, slots=True)
class Level:
    """One quota now: ``used`` of ``limit``. ``source``: ``configured`` (settings) or ``provider`` (rate headers)."""

    name: QuotaName
    used: int
    limit: int
    source: str
    resets_s: float | None = None

    @property
    def share(self) -> float:
        """Used share: 0 (nothing) to 1 (all), and above."""
        return self.used / self.limit


@dataclass(frozen=True, slots=True)
class Reading:
    """One provider: the last minute, today (UTC), its limits, and the cost if prices are configured."""

    provider: str
    minute: Totals
    day: Totals
    levels: tuple[Level, ...] = ()
    cost_today: float | None = None
    state: QuotaState = "ok"

    @property
    def highest(self) -> Level | None:
        """The level with the largest used share; None without limits."""
        return max(self.levels, key=lambda level: level.share, default=None)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All providers at one time (``at``: seconds since the epoch), and the use of this process since it began.

    ``cost_per_hour``: of this process; None without prices, or before any time has passed.
    """

    at: float
    providers: Mapping[str, Reading] = field(default_factory=lambda: MappingProxyType({}))
    session: Mapping[str, Totals] = field(default_factory=lambda: MappingProxyType({}))
    cost_per_hour: float | None = None

    def warnings(self) -> list[str]:
        """One line for each provider whose limit is nearly or wholly used."""
        return [
            f"{name}: {near.share:.0%} of {near.name.replace('_', ' a ')} used ({near.used:,} of {near.limit:,})"
            for name, one in self.providers.items()
            if one.state != "ok" and (near := one.highest) is not None
        ]

    def line(self) -> str:
        """For the screen: ``cerebras 12 requests, 3,400 tokens today (1 % of tokens_day)``; empty if nothing was
        used."""
        parts = []
        for name, one in self.providers.items():
            if not one.day.requests:
                continue
            near = one.highest
            share = f" ({near.share:.0%} of {near.name})" if near else ""
            parts.append(f"{name} {one.day.requests} requests, {one.day.tokens:,} tokens today{share}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class QuotaRules:
    """The settings that a reading depends on: limits and prices by provider, and the share that warns."""

    limits: Mapping[str, Mapping[QuotaName, int]]
    prices: Mapping[str, Price]
    warn_at: float

    def reading(
        self, provider: str, minute: Totals, day: Totals, seen: Iterable[tuple[Quota, float]], now: float
    ) -> Reading:
        """The reading of ``provider`` at ``now``. ``seen``: quotas from rate headers, with the times of their answers.

        A configured limit has precedence over the provider's; an old rate header counts until its quota is full again.
        """
        levels = {level.name: level for level in self._configured(provider, minute, day, now)}
        for quota, seen_at in seen:
            age = now - seen_at
            full_again = quota.resets_s if quota.resets_s is not None else WINDOW_S[quota.name]
            if age < full_again and quota.name not in levels:
                used = quota.limit - quota.remaining
                levels[quota.name] = Level(quota.name, used, quota.limit, "provider", full_again - age)
        price = self.prices.get(provider)
        cost = price.of(day.prompt_tokens, day.completion_tokens) if price else None
        found = tuple(levels.values())
        return Reading(provider, minute, day, found, cost, self._state(found))

    def cost_per_hour(self, session: Mapping[str, Totals], hours: float) -> float | None:
        """The cost of ``session`` an hour; None without prices, or if no time has passed."""
        priced = [(self.prices[name], totals) for name, totals in session.items() if name in self.prices]
        if not priced or hours <= 0:
            return None
        return sum(price.of(t.prompt_tokens, t.completion_tokens) for price, t in priced) / hours

    def _configured(self, provider: str, minute: Totals, day: Totals, now: float) -> Iterator[Level]:
        for name, limit in self.limits.get(provider, {}).items():
            if limit > 0:
                window = day if name.endswith("day") else minute
                used = window.requests if name.startswith("requests") else window.tokens
                resets_s = day_start(now) + 86_400 - now if window is day else 60.0
                yield Level(name, used, limit, "configured", resets_s)

    def _state(self, levels: Sequence[Level]) -> QuotaState:
        share = max((level.share for level in levels), default=0.0)
        if not levels or share < self.warn_at:
            return "ok"
        return "full" if share >= 1 else "warn"
