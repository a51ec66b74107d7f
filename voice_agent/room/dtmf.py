"""DTMF: keys pressed on a phone, collected into one input that ends with ``#`` or a pause. ``*`` starts again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from livekit import rtc
from livekit.agents import AgentSession

MAX_KEYS = 32  # longer than any card number; a stuck key must not fill the model's context


class Keypad:
    """``on_input(keys)`` is called on the event loop with each input, without its ``#``.

    ``wait_s``: the pause that ends an input.
    """

    def __init__(self, on_input: Callable[[str], None], *, wait_s: float) -> None:
        self._on_input = on_input
        self._wait_s = wait_s
        self._typed = ""
        self._timer: asyncio.TimerHandle | None = None

    def press(self, key: str) -> None:
        """One key: ``0``-``9``, ``A``-``D``, ``*``, ``#``; anything else is ignored."""
        if len(key) != 1 or key not in "0123456789ABCD*#":
            return
        self._stop_timer()
        if key == "#":
            self._done()
        elif key == "*":
            self._typed = ""
        else:
            self._typed = (self._typed + key)[:MAX_KEYS]
            self._timer = asyncio.get_running_loop().call_later(self._wait_s, self._done)

    def close(self) -> None:
        """Discard an input that has begun."""
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


@contextlib.contextmanager
def keypad_of(
    room: rtc.Room, session: AgentSession[Any], on_input: Callable[[str], None], *, wait_s: float
) -> Iterator[None]:
    """Collect the keys of the participant that the session listens to, until the block ends."""
    keypad = Keypad(on_input, wait_s=wait_s)

    def pressed(event: rtc.SipDTMF) -> None:
        linked = session.room_io.linked_participant
        if event.participant is not None and linked is not None and event.participant.identity == linked.identity:
            keypad.press(event.digit)

    room.on("sip_dtmf_received", pressed)
    try:
        yield
    finally:
        room.off("sip_dtmf_received", pressed)
        keypad.close()
