"""When Whisper runs: one pass at a time for each stream, on an executor that several streams may share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from ..audio.samples import Int16
from ..clock import Clock
from .incremental import IncrementalDecoder, PassResult
from .pcm import SAMPLE_RATE, to_float

PASS_EVERY_S = 0.1
"""Less new audio than this starts no pass."""
SLOW_PASS_S = 0.12
"""Where a pass takes longer, passes in mid-speech must leave the thread free for the pass at the end of the speech."""
PASS_SHARE = 0.5
"""Slow passes in mid-speech take at most this share of the time."""


def pass_is_due(
    here_s: float,
    ended_s: float,
    loud_s: float,
    covers_s: float,
    last_took_s: float,
    wants_confirmation: bool = False,
) -> bool:
    """Whether to start a pass at ``here_s``. All arguments are seconds of audio, ``last_took_s`` seconds of time.

    ``ended_s``: end of the last window with speech; ``loud_s``: end of the last loud one; ``covers_s``: where the last
    pass ended; ``last_took_s``: how long it took.
    In a pause: if the last pass does not cover all of the speech. In speech: one pass after the other if they are
    quick, or if the text looks whole (``wants_confirmation``: such a pass is cheap); slow passes only at an energy
    drop, or rarely.
    """
    if here_s > ended_s:
        return covers_s < ended_s
    if last_took_s < SLOW_PASS_S or wants_confirmation:
        return here_s - covers_s >= PASS_EVERY_S
    return ended_s > loud_s > covers_s or here_s - covers_s >= last_took_s / PASS_SHARE


@dataclass(frozen=True, slots=True)
class PassInput:
    """The audio of one pass: the windows of an utterance that are not frozen yet, up to ``here_s``.

    ``ended_s`` and ``loud_s`` as in :func:`pass_is_due`; ``wants_confirmation``: the text looks whole already.
    """

    decoder: IncrementalDecoder
    windows: tuple[Int16, ...]
    here_s: float
    ended_s: float
    loud_s: float
    wants_confirmation: bool

    def decode(self) -> PassResult:
        """Run the pass. Blocks."""
        pcm = to_float(np.concatenate(self.windows))
        paused = self.here_s > self.ended_s
        may_have_finished = paused or self.ended_s > self.loud_s or self.wants_confirmation
        speech_s = len(pcm) / SAMPLE_RATE - (self.here_s - self.ended_s) if may_have_finished else None
        return self.decoder.decode(pcm, final=paused, speech_s=speech_s)


class _PendingPass:
    """A pass that was submitted. It may wait for other streams, and reads the latest input when it starts."""

    def __init__(self, latest: PassInput | None, clock: Clock) -> None:
        self._clock = clock
        self.latest = latest  # replaced until the pass starts
        self.used: PassInput | None = None
        self.started_at: float | None = None

    def run(self) -> PassResult | None:
        """On the executor's thread."""
        self.started_at = self._clock.now()
        self.used = self.latest
        return self.used.decode() if self.used is not None else None


class PassScheduler:
    """Runs the passes of one stream.

    ``on_done(input, future)`` is called on the event loop after each pass; ``input`` is None where there was no speech
    any more when the pass started. It is not called for a pass that was cancelled.
    """

    def __init__(
        self,
        executor: Executor,
        on_done: Callable[[PassInput | None, asyncio.Future[PassResult | None]], None],
        clock: Clock,
    ) -> None:
        self._executor = executor
        self._on_done = on_done
        self._clock = clock
        self._pending: _PendingPass | None = None
        self._last_took_s = 0.0

    @property
    def busy(self) -> bool:
        """A pass runs, or waits for its turn."""
        return self._pending is not None

    def update(self, latest: PassInput | None, covers_s: float) -> None:
        """Start a pass over ``latest`` if one is due; None: there is no speech. ``covers_s``: end of the last pass."""
        if self._pending is not None:
            if self._pending.started_at is None:
                self._pending.latest = latest
            return
        if latest is None or not pass_is_due(
            latest.here_s, latest.ended_s, latest.loud_s, covers_s, self._last_took_s, latest.wants_confirmation
        ):
            return
        self._pending = pending = _PendingPass(latest, self._clock)
        future = asyncio.get_running_loop().run_in_executor(self._executor, pending.run)
        future.add_done_callback(lambda f: self._done(pending, f))

    def _done(self, pending: _PendingPass, future: asyncio.Future[PassResult | None]) -> None:
        self._pending = None
        if future.cancelled():
            return
        if pending.used is not None and pending.started_at is not None:
            self._last_took_s = self._clock.now() - pending.started_at
        self._on_done(pending.used, future)
