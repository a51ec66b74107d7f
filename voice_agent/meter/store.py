"""The meter's file: one SQLite database that all processes share, written by the meter's thread.

WAL with ``synchronous=NORMAL``: a crash of the program loses no commit, a power failure at most the last ones, and
neither corrupts the file (sqlite.org/wal.html). A row is one minute of one provider and model, so a day is a sum over
at most 1,440 rows a model.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .quota import NAMES, Quota

KEEP_DAYS = 40
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
  provider TEXT NOT NULL, model TEXT NOT NULL, minute INTEGER NOT NULL,
  requests INTEGER NOT NULL DEFAULT 0, prompt INTEGER NOT NULL DEFAULT 0,
  completion INTEGER NOT NULL DEFAULT 0, estimated INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (provider, model, minute)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quota (
  provider TEXT NOT NULL, name TEXT NOT NULL, allowed INTEGER NOT NULL, remaining INTEGER NOT NULL,
  resets_at REAL, seen_at REAL NOT NULL, PRIMARY KEY (provider, name)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """The use of one request. ``requests`` is 0 for tokens that are known later; ``estimated_tokens``: without a
    count."""

    provider: str
    model: str
    at: float
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class QuotasSeen:
    """Quotas from a provider's rate headers at ``at`` (seconds since the epoch)."""

    provider: str
    at: float
    quotas: tuple[Quota, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Requests and tokens of one provider in a time window."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def day_start(at: float) -> int:
    """Midnight UTC before ``at``, in seconds since the epoch."""
    return int(at // 86_400) * 86_400


class Store:
    """The open database. Every method blocks; use it from one thread. Raises sqlite3.Error and OSError."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def write(self, events: Iterable[UsageEvent | QuotasSeen]) -> None:
        """Write all events in one transaction, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for event in events:
                self._write_usage(event) if isinstance(event, UsageEvent) else self._write_quotas(event)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _write_usage(self, e: UsageEvent) -> None:
        self._db.execute(
            "INSERT INTO usage VALUES (?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET requests=requests+excluded.requests,"
            " prompt=prompt+excluded.prompt, completion=completion+excluded.completion,"
            " estimated=estimated+excluded.estimated",
            (
                e.provider,
                e.model,
                int(e.at // 60),
                e.requests,
                e.prompt_tokens,
                e.completion_tokens,
                e.estimated_tokens,
            ),
        )

    def _write_quotas(self, e: QuotasSeen) -> None:
        for q in e.quotas:
            resets_at = None if q.resets_s is None else e.at + q.resets_s
            # Two processes may commit in another order than that of the answers.
            self._db.execute(
                "INSERT INTO quota VALUES (?,?,?,?,?,?) ON CONFLICT DO UPDATE SET allowed=excluded.allowed,"
                " remaining=excluded.remaining, resets_at=excluded.resets_at, seen_at=excluded.seen_at"
                " WHERE excluded.seen_at >= seen_at",
                (e.provider, q.name, q.limit, q.remaining, resets_at, e.at),
            )

    def totals(self, since_s: float, until_s: float) -> dict[str, Totals]:
        """By provider, for the minutes that begin in ``[since_s, until_s]``."""
        rows = self._db.execute(
            "SELECT provider, SUM(requests), SUM(prompt), SUM(completion) FROM usage"
            " WHERE minute >= ? AND minute <= ? GROUP BY provider",
            (int(since_s // 60), int(until_s // 60)),
        )
        return {provider: Totals(*counts) for provider, *counts in rows}

    def quotas(self) -> dict[str, list[tuple[Quota, float]]]:
        """By provider: the last quotas, each with its time."""
        found: dict[str, list[tuple[Quota, float]]] = {}
        known = {str(name): name for name in NAMES}
        for provider, name, allowed, remaining, resets_at, seen_at in self._db.execute("SELECT * FROM quota"):
            if name in known:
                resets_s = None if resets_at is None else resets_at - seen_at
                found.setdefault(provider, []).append((Quota(known[name], allowed, remaining, resets_s), seen_at))
        return found

    def forget_before(self, at: float) -> None:
        """Delete rows that are older than ``KEEP_DAYS`` before ``at``."""
        self._db.execute("DELETE FROM usage WHERE minute < ?", (int((at - KEEP_DAYS * 86_400) // 60),))

    def close(self) -> None:
        self._db.close()
