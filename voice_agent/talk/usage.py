"""Provider usage as events: one at each change, and one note for each limit that is nearly or fully used."""

from __future__ import annotations

from collections.abc import Callable

from .. import meter
from ..meter import Reading, Snapshot
from .events import Event, Note, ProviderUsage


class UsageWatch:
    """Call :meth:`events` regularly. ``read`` returns the meter's last snapshot (None: no meter); it must not block."""

    def __init__(self, read: Callable[[], Snapshot | None] = meter.snapshot) -> None:
        self._read = read
        self._emitted: dict[str, ProviderUsage] = {}
        self._warned: set[tuple[str, str, str]] = set()

    def events(self) -> list[Event]:
        """The changes since the last call. A provider without requests today is left out, unless it is near a limit."""
        snapshot, out = self._read(), list[Event]()
        for reading in snapshot.providers.values() if snapshot is not None else ():
            usage = usage_of(reading)
            if usage == self._emitted.get(reading.provider) or not (usage.requests_today or usage.state != "ok"):
                continue
            self._emitted[reading.provider] = usage
            out.append(usage)
            near = reading.highest
            if near is not None and usage.state != "ok":
                warning = (reading.provider, near.name, usage.state)
                if warning not in self._warned:
                    self._warned.add(warning)
                    out.append(
                        Note(
                            f"{reading.provider}: {near.share:.0%} of the {near.name.replace('_', ' a ')} are used"
                            f" ({near.used:,} of {near.limit:,})"
                        )
                    )
        return out


def usage_of(reading: Reading) -> ProviderUsage:
    """A reading of the meter as an event."""
    near = reading.highest
    return ProviderUsage(
        reading.provider,
        reading.day.requests,
        reading.day.tokens,
        None if near is None else near.name,
        None if near is None else near.share,
        reading.state,
    )


def in_words(usage: ProviderUsage) -> str:
    """``cerebras today: 12 requests, 3,400 tokens; 82% of tokens a day, nearly used up``."""
    text = f"{usage.provider} today: {usage.requests_today:,} requests, {usage.tokens_today:,} tokens"
    if usage.quota is not None and usage.share is not None:
        text += f"; {usage.share:.0%} of {usage.quota.replace('_', ' a ')}"
    return text + {"ok": "", "warn": ", nearly used up", "full": ", used up"}[usage.state]
