"""Requests and tokens a minute and a day, by provider, held to what is allowed.

The road only puts events into a queue and looks at the last :class:`Snapshot`; a thread writes them to the file and
makes the next one. If the file cannot be used, the meter says so once and counts in memory: a call goes on.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from ..clock import SYSTEM, Clock
from ..config import MeterConfig, cache_dir
from ..errors import RateLimitedError
from .quota import WINDOW_S, QuotaName, from_headers, parse_limits, parse_prices
from .store import QuotasSeen, Store, Totals, UsageEvent, day_start

logger = logging.getLogger(__name__)

FILE = "meter.sqlite"
_READ_EVERY_S = 2.0  # what other processes have used is seen this late
_CLOSE_WAIT_S = 5.0
QuotaState = Literal["ok", "warn", "full"]


@dataclass(frozen=True, slots=True)
class Level:
    """One quota now. ``used`` of ``limit``; ``source``: ``configured``, or ``provider`` (its headers)."""

    name: QuotaName
    used: int
    limit: int
    source: str
    resets_s: float | None = None

    @property
    def share(self) -> float:
        """0 (nothing used) to 1 (nothing left), and above."""
        return self.used / self.limit


@dataclass(frozen=True, slots=True)
class Reading:
    """One provider: the last minute, today (UTC), its limits, and money where prices are configured."""

    provider: str
    minute: Totals
    day: Totals
    levels: tuple[Level, ...] = ()
    cost_today: float | None = None
    state: QuotaState = "ok"

    @property
    def highest(self) -> Level | None:
        """The limit that is nearest."""
        return max(self.levels, key=lambda level: level.share, default=None)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All providers at one moment (``at``: seconds since the epoch), and what this process has used since it began.

    ``cost_per_hour``: of this process's conversations, where prices are configured; None: no price or no time yet.
    """

    at: float
    providers: Mapping[str, Reading] = field(default_factory=lambda: MappingProxyType({}))
    session: Mapping[str, Totals] = field(default_factory=lambda: MappingProxyType({}))
    cost_per_hour: float | None = None

    def warnings(self) -> list[str]:
        """One line for each limit that is nearly or wholly used."""
        return [
            f"{name}: {near.share:.0%} of {near.name.replace('_', ' a ')} used ({near.used:,} of {near.limit:,})"
            for name, one in self.providers.items()
            if one.state != "ok" and (near := one.highest) is not None
        ]

    def line(self) -> str:
        """For the screen: ``cerebras 12 requests, 3,400 tokens today (1 % of tokens_day)``; empty without use."""
        parts = []
        for name, one in self.providers.items():
            if not one.day.requests:
                continue
            near = one.highest
            share = f" ({near.share:.0%} of {near.name})" if near else ""
            parts.append(f"{name} {one.day.requests} requests, {one.day.tokens:,} tokens today{share}")
        return "; ".join(parts)


class UsageMeter:
    """Open it with :func:`opened`. All methods return at once and may be called from any thread, but :meth:`close`
    and :meth:`flush`, which wait for the thread.

    ``on_warning(text)`` is called on the thread, once for each quota, window and state.
    """

    def __init__(
        self,
        config: MeterConfig,
        path: Path | None = None,
        *,
        clock: Clock = SYSTEM,
        on_warning: Callable[[str], None] = logger.warning,
    ) -> None:
        self.config = config
        self._limits = parse_limits(config.limits)
        self._prices = parse_prices(config.prices)
        self._clock = clock
        self._path = path or cache_dir() / FILE
        self._on_warning = on_warning
        self._began = clock.wall()
        self._session: dict[str, list[int]] = {}
        self._memory: list[UsageEvent] = []  # without a file
        self._warned: set[tuple[str, str, int, str]] = set()
        self._queue: queue.SimpleQueue[UsageEvent | QuotasSeen | threading.Event | None] = queue.SimpleQueue()
        self._snapshot = Snapshot(self._began)
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._thread.start()

    # --- the road -------------------------------------------------------------------------------------------------

    def used(
        self,
        provider: str,
        model: str,
        *,
        requests: int = 0,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        estimated_tokens: int = 0,
    ) -> None:
        """Count. ``estimated_tokens`` are completion tokens that nobody has counted exactly."""
        completion = completion_tokens + estimated_tokens
        self._queue.put(
            UsageEvent(provider, model, self._clock.wall(), requests, prompt_tokens, completion, estimated_tokens)
        )

    def read_headers(self, provider: str, headers: Mapping[str, str], scheme: str) -> None:
        """Take in the rate headers of an answer."""
        if quotas := from_headers(headers, scheme):
            self._queue.put(QuotasSeen(provider, self._clock.wall(), tuple(quotas)))

    def admit(self, provider: str) -> None:
        """Raise RateLimitedError if ``provider`` has nothing left and the settings say not to ask it then."""
        if self.config.at_limit == "warn":
            return
        reading = self._snapshot.providers.get(provider)
        if reading is None or reading.state != "full" or (near := reading.highest) is None:
            return
        passed = self._clock.wall() - self._snapshot.at
        resets_s = None if near.resets_s is None else near.resets_s - passed
        if resets_s is not None and resets_s <= 0:
            return
        raise RateLimitedError(
            f"{provider}: {near.used:,} of {near.limit:,} {near.name.replace('_', ' a ')} are used; wait, name another"
            " provider (--provider), or set meter.at_limit=warn to ask all the same",
            retry_after_s=resets_s,
        )

    def exhausted(self, provider: str) -> bool:
        """Whether to go to another provider: nothing is left, and ``meter.at_limit`` is ``route``."""
        try:
            self.admit(provider)
        except RateLimitedError:
            return self.config.at_limit == "route"
        return False

    def snapshot(self) -> Snapshot:
        """The last reading."""
        return self._snapshot

    # --- the thread -----------------------------------------------------------------------------------------------

    def flush(self, wait_s: float = _CLOSE_WAIT_S) -> bool:
        """Wait until everything counted so far is in the file and in the snapshot; False: not in time."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(wait_s)

    def close(self) -> None:
        """Write what is left; then the meter is over."""
        self._queue.put(None)
        self._thread.join(_CLOSE_WAIT_S)

    def _run(self) -> None:
        store = self._open()
        self._read(store)
        over = False
        while not over:
            batch: list[UsageEvent | QuotasSeen] = []
            waiting: list[threading.Event] = []
            with contextlib.suppress(queue.Empty):
                item = self._queue.get(timeout=_READ_EVERY_S)
                while True:
                    if item is None:
                        over = True
                        break
                    waiting.append(item) if isinstance(item, threading.Event) else batch.append(item)
                    item = self._queue.get_nowait()
            store = self._take(store, batch)
            self._read(store)
            for event in waiting:
                event.set()
        if store is not None:
            with contextlib.suppress(sqlite3.Error):
                store.close()

    def _open(self) -> Store | None:
        try:
            store = Store(self._path)
            store.forget_before(self._clock.wall())
        except (sqlite3.Error, OSError) as error:
            self._no_file(error)
            return None
        return store

    def _no_file(self, error: Exception) -> None:
        self._on_warning(f"the meter's file {self._path.name} cannot be used ({error}); counting in memory only")

    def _take(self, store: Store | None, batch: list[UsageEvent | QuotasSeen]) -> Store | None:
        if not batch:
            return store
        for event in batch:
            if isinstance(event, UsageEvent):
                sums = self._session.setdefault(event.provider, [0, 0, 0])
                for place, more in enumerate((event.requests, event.prompt_tokens, event.completion_tokens)):
                    sums[place] += more
        if store is not None:
            try:
                store.write(batch)
                return store
            except (sqlite3.Error, OSError) as error:
                self._no_file(error)
        self._memory += [event for event in batch if isinstance(event, UsageEvent)]
        del self._memory[:-10_000]
        return None

    def _read(self, store: Store | None) -> None:
        now = self._clock.wall()
        try:
            minute, day = self._totals(store, now - 60, now), self._totals(store, day_start(now), now)
            said = store.quotas() if store is not None else {}
        except (sqlite3.Error, OSError) as error:
            logger.debug("the meter could not be read: %s", error)
            return
        readings = {}
        for name in sorted({*minute, *day, *said, *self._limits}):
            levels = dict(self._configured(name, minute.get(name, Totals()), day.get(name, Totals()), now))
            for quota, seen_at in said.get(name, []):
                age = now - seen_at
                full_again = quota.resets_s if quota.resets_s is not None else WINDOW_S[quota.name]
                if age < full_again and quota.name not in levels:
                    used = quota.limit - quota.remaining
                    levels[quota.name] = Level(quota.name, used, quota.limit, "provider", full_again - age)
            price, today = self._prices.get(name), day.get(name, Totals())
            cost = price.of(today.prompt_tokens, today.completion_tokens) if price else None
            reading = Reading(name, minute.get(name, Totals()), today, tuple(levels.values()), cost)
            state = self._state(reading)
            readings[name] = Reading(name, reading.minute, today, reading.levels, cost, state)
            self._warn(readings[name], now)
        session = {name: Totals(*sums) for name, sums in self._session.items()}
        self._snapshot = Snapshot(
            now, MappingProxyType(readings), MappingProxyType(session), self._cost_per_hour(session, now)
        )

    def _totals(self, store: Store | None, since: float, until: float) -> dict[str, Totals]:
        if store is not None and not self._memory:
            return store.totals(since, until)
        found = store.totals(since, until) if store is not None else {}
        for e in self._memory:
            if since <= e.at <= until:
                t = found.get(e.provider, Totals())
                found[e.provider] = Totals(
                    t.requests + e.requests,
                    t.prompt_tokens + e.prompt_tokens,
                    t.completion_tokens + e.completion_tokens,
                )
        return found

    def _configured(self, provider: str, minute: Totals, day: Totals, now: float) -> Iterator[tuple[QuotaName, Level]]:
        for name, limit in self._limits.get(provider, {}).items():
            if limit > 0:
                window = day if name.endswith("day") else minute
                used = window.requests if name.startswith("requests") else window.tokens
                resets_s = day_start(now) + 86_400 - now if window is day else 60.0
                yield name, Level(name, used, limit, "configured", resets_s)

    def _state(self, reading: Reading) -> QuotaState:
        near = reading.highest
        if near is None or near.share < self.config.warn_at:
            return "ok"
        return "full" if near.share >= 1 else "warn"

    def _warn(self, reading: Reading, now: float) -> None:
        for level in reading.levels:
            if level.share < self.config.warn_at:
                continue
            window = int(now // WINDOW_S[level.name])
            key = (reading.provider, level.name, window, "full" if level.share >= 1 else "warn")
            if key not in self._warned:
                self._warned.add(key)
                self._on_warning(
                    f"{reading.provider}: {level.share:.0%} of {level.name.replace('_', ' a ')} used"
                    f" ({level.used:,} of {level.limit:,})"
                )

    def _cost_per_hour(self, session: Mapping[str, Totals], now: float) -> float | None:
        hours = (now - self._began) / 3600
        priced = [(self._prices[name], totals) for name, totals in session.items() if name in self._prices]
        if not priced or hours <= 0:
            return None
        return sum(price.of(t.prompt_tokens, t.completion_tokens) for price, t in priced) / hours
