"""A voice that many calls share: when each piece of sound is synthesised (figures: docs/rooms.md)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from ..clock import SYSTEM, Clock
from ..runtime.scheduling import PrioritySemaphore
from ..tts import LOW_LATENCY_FRAMES, UNDER_LOAD_FRAMES, AudioChunk, Delivery, Stop, Voice

LOW_LATENCY_PIECES = 3
"""The first pieces of a low-latency text, which are due at once: the third gives more than a second of sound."""
MARGIN_S = 0.7
"""A later piece is due this long before the sound runs out: a piece may take half of that on a busy machine."""
AHEAD_S = 1.5
"""Under load no piece is made while there is this much sound ahead: an interruption then has cost little."""
PROVISIONAL_S = 0.4
"""Under load this much sound is made of a provisional reply: two pieces; the third takes less time than they last."""
PROVISIONAL_DELAY_S = 0.15
"""The first pieces of a provisional reply are due this much later than those of a committed one."""
POLL_S = 0.01
"""How often a waiting provisional reply looks whether its turn has been committed."""


class ScheduledVoice:
    """A voice for several calls at once: each piece is made when the semaphore says so, the most urgent first.

    ``under_load()``: there are so many calls that nothing is made before it is needed. ``later``: runs the pieces that
    are not due yet; the semaphore lets one of them through at a time.
    """

    def __init__(
        self,
        voice: Voice,
        semaphore: PrioritySemaphore,
        under_load: Callable[[], bool] = lambda: False,
        clock: Clock = SYSTEM,
        *,
        later: Executor | None = None,
    ) -> None:
        self._voice = voice
        self._semaphore = semaphore
        self._under_load = under_load
        self._later = later
        self._clock = clock

    def speak(
        self, text: str, delivery: Delivery | None = None, *, low_latency: bool = True, stop: Stop | None = None
    ) -> Iterator[AudioChunk]:
        """As :meth:`voice_agent.tts.Voice.speak`."""
        stop = stop or Stop()
        first = UNDER_LOAD_FRAMES if self._under_load() else LOW_LATENCY_FRAMES
        pieces = self._voice.speak(text, delivery, low_latency=low_latency, first=first, stop=stop)
        asked_at = self._clock.now()
        dry_at, made_s = asked_at if stop.due_at is None else stop.due_at, 0.0
        for number in itertools.count():
            if number or not low_latency:
                self._until_needed(stop, dry_at, made_s)
            if not low_latency or number >= LOW_LATENCY_PIECES:
                due_at = dry_at - MARGIN_S
            else:
                due_at = asked_at + (PROVISIONAL_DELAY_S if stop.provisional() else 0.0)
            with self._semaphore.turn(due_at):
                if self._later is not None and due_at > self._clock.now():
                    piece = self._later.submit(next, pieces, None).result()
                else:
                    piece = next(pieces, None)
            if piece is None:
                return
            if number == 0 and stop.due_at is None:
                dry_at = self._clock.now()
            length_s = piece.samples.size / self._voice.sample_rate
            dry_at, made_s = dry_at + length_s, made_s + length_s
            yield piece
            if piece.last:
                return

    def _until_needed(self, stop: Stop, dry_at: float, made_s: float) -> None:
        """Under load, wait until the next piece is needed. Blocks."""
        while self._under_load() and not stop.is_set:
            if stop.provisional():
                wait_s = POLL_S if made_s >= PROVISIONAL_S else 0.0
            else:
                wait_s = min(dry_at - AHEAD_S - self._clock.now(), 10 * POLL_S)  # fewer calls may run meanwhile
            if wait_s <= 0.0:
                return
            stop.wait(wait_s)


__all__ = ["ScheduledVoice"]
