"""Counts requests and tokens a minute and a day, by provider, and compares them with the quotas.

Callers only put events into a queue and read the last :class:`Snapshot`; a thread writes the events to the file and
makes the next snapshot. If the file cannot be used, the meter warns once and counts in memory, and calls go on.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ..clock import SYSTEM, Clock
from ..config import MeterConfig, cache_dir
from ..errors import RateLimitedError
from .quota import WINDOW_S, from_headers, parse_limits, parse_prices
from .readings import QuotaRules, Reading, Snapshot
from .store import QuotasSeen, Store, Totals, UsageEvent, day_start

logger = logging.getLogger(__name__)

FILE = "meter.sqlite"
_READ_EVERY_S = 2.0  # the use of other processes is seen this late
_CLOSE_WAIT_S = 5.0


class UsageMeter:
    """Open it with :func:`opened`. All methods may be called from any thread and return at once, except :meth:`close`
    and :meth:`flush`, which wait for the meter's thread.

    ``on_warning(text)`` is called on the meter's thread, once for each quota, window and state.
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
        self._rules = QuotaRules(parse_limits(config.limits), parse_prices(config.prices), config.warn_at)
        self._clock = clock
        self._path = path or cache_dir() / FILE
        self._on_warning = on_warning
        self._began = clock.wall()
        self._session: dict[str, list[int]] = {}
        self._memory: list[UsageEvent] = []  # while the file cannot be used
        self._warned: set[tuple[str, str, int, str]] = set()
        self._queue: queue.SimpleQueue[UsageEvent | QuotasSeen | threading.Event | None] = queue.SimpleQueue()
        self._snapshot = Snapshot(self._began)
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._thread.start()

    # --- for callers ----------------------------------------------------------------------------------------------

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
        """Count a request or its tokens. ``estimated_tokens``: completion tokens without a provider's count."""
        completion = completion_tokens + estimated_tokens
        self._queue.put(
            UsageEvent(provider, model, self._clock.wall(), requests, prompt_tokens, completion, estimated_tokens)
        )

    def read_headers(self, provider: str, headers: Mapping[str, str], scheme: str) -> None:
        """Read the rate headers of an answer. ``scheme``: see :func:`.quota.from_headers`."""
        if quotas := from_headers(headers, scheme):
            self._queue.put(QuotasSeen(provider, self._clock.wall(), tuple(quotas)))

    def admit(self, provider: str) -> None:
        """Raise RateLimitedError if the quota of ``provider`` is used up and ``meter.at_limit`` is not ``warn``."""
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
        """Whether to use another provider: the quota is used up, and ``meter.at_limit`` is ``route``."""
        try:
            self.admit(provider)
        except RateLimitedError:
            return self.config.at_limit == "route"
        return False

    def snapshot(self) -> Snapshot:
        """The last snapshot."""
        return self._snapshot

    # --- the thread -----------------------------------------------------------------------------------------------

    def flush(self, wait_s: float = _CLOSE_WAIT_S) -> bool:
        """Wait until everything counted so far is in the file and in the snapshot. False: not within ``wait_s``."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(wait_s)

    def close(self) -> None:
        """Write the remaining events and end the thread."""
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
            seen = store.quotas() if store is not None else {}
        except (sqlite3.Error, OSError) as error:
            logger.debug("the meter could not be read: %s", error)
            return
        readings = {}
        for name in sorted({*minute, *day, *seen, *self._rules.limits}):
            totals = minute.get(name, Totals()), day.get(name, Totals())
            readings[name] = self._rules.reading(name, *totals, seen.get(name, ()), now)
            self._warn(readings[name], now)
        session = {name: Totals(*sums) for name, sums in self._session.items()}
        cost_per_hour = self._rules.cost_per_hour(session, (now - self._began) / 3600)
        self._snapshot = Snapshot(now, MappingProxyType(readings), MappingProxyType(session), cost_per_hour)

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
