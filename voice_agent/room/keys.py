"""Keys pressed on a phone (DTMF), collected into one input: until ``#``, or a pause. ``*`` starts again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MOST = 32  # longer than any card number; a stuck key must not fill the model's context


class Keypad:
    """``on_input(digits)`` is called on the event loop with what was typed, without the ``#``."""

    def __init__(self, on_input: Callable[[str], None], *, wait_s: float) -> None:
        self._on_input = on_input
        self._wait_s = wait_s
        self._typed = ""
        self._timer: asyncio.TimerHandle | None = None

    def press(self, key: str) -> None:
        """One key: ``0``-``9``, ``A``-``D``, ``*``, ``#``; anything else is passed over."""
        if len(key) != 1 or key not in "0123456789ABCD*#":
            return
        self._stop_timer()
        if key == "#":
            self._done()
        elif key == "*":
            self._typed = ""
        else:
            self._typed = (self._typed + key)[:MOST]
            self._timer = asyncio.get_running_loop().call_later(self._wait_s, self._done)

    def close(self) -> None:
        """Forget what was typed."""
        self._stop_timer()
        self._typed = ""

    def _done(self) -> None:
        self._stop_timer()
        typed, self._typed = self._typed, ""
        if typed:
            self._on_input(typed)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
