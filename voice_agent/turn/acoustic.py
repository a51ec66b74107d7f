"""Runs an acoustic end-of-turn model on its own thread: once in a pause, and only if the text leaves doubt."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from ..audio.samples import Int16

ACOUSTIC_SAMPLES = 19_200
"""The model's input: 1.2 s at 16 kHz."""
ACOUSTIC_AT_S = 0.2
"""The model needs this much of the pause."""


class AcousticModel(Protocol):
    """``predict(int16[<=19200]) -> probability`` that the turn is over (``livekit.local_inference.EOT``)."""

    def predict(self, pcm: Int16) -> float: ...


class AcousticScorer:
    """``on_result(pause, probability)`` is called on the event loop; ``pause``: the end of its speech in s."""

    def __init__(self, model: AcousticModel, on_result: Callable[[float, float], None]) -> None:
        self._model = model
        self._on_result = on_result
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="turn-acoustic")
        self._recent: deque[Int16] = deque(maxlen=ACOUSTIC_SAMPLES // 512 + 1)
        self._scored_pause = -1.0
        self._closed = False

    def add(self, pcm: Int16) -> None:
        """The next window of audio."""
        self._recent.append(pcm)

    def reset(self) -> None:
        """A turn begins."""
        self._scored_pause = -1.0

    def maybe_start(self, pause: float, now_s: float, wait_s: float) -> None:
        """In a pause that began at ``pause``: run the model if it is time, and if the text asks for a longer wait."""
        if self._scored_pause == pause or now_s - pause < ACOUSTIC_AT_S or wait_s <= ACOUSTIC_AT_S:
            return
        self._scored_pause = pause
        pcm = np.concatenate(list(self._recent))[-ACOUSTIC_SAMPLES:]
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._model.predict, pcm)
        future.add_done_callback(lambda f: self._done(pause, f))

    def close(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, pause: float, future: asyncio.Future[float]) -> None:
        if not self._closed and not future.cancelled() and future.exception() is None:
            self._on_result(pause, float(future.result()))
