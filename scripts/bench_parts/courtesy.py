"""When does the user of a stock system speak next? The same rule as in ``voice-agent script``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 15.0  # then the turn counts as unanswered


async def heard_out(
    end_at: float,
    now: Callable[[], float],
    last_audible_end: Callable[[], float],
    busy: Callable[[], bool],
    settle_s: float,
) -> None:
    """Return ``settle_s`` after the reply to a clip that ended at ``end_at`` has been heard out, or after 15 s without.

    A reply that was over before ``end_at`` answered something else (the agent cut in): the real one is waited for.
    """
    while True:
        await asyncio.sleep(0.02)
        last = last_audible_end()
        quiet_since = max(end_at, last)
        if not busy() and now() > quiet_since + (settle_s if last > end_at else PATIENCE_S):
            return
