"""Runs an end-of-turn model on its own thread: the latest text first, one text at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .eou.end_of_turn_models import EndOfTurnModel, RuleEndOfTurnModel
from .turn_text import words_of


class EndOfTurnScorer:
    """``on_score(text, score, took_s)`` is called on the event loop; ``took_s`` is None for a score that was known.

    Scores are kept for a turn. A model that fails is replaced by rules: a turn without evidence is worse than one with
    less. If the rules fail as well, that error is raised in the event loop's callback.
    """

    def __init__(self, model: EndOfTurnModel, on_score: Callable[[str, float, float | None], None]) -> None:
        self._model = model
        self._on_score = on_score
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="end-of-turn")
        self._scores: dict[str, float] = {}
        self._next: str | None = None
        self._failed = self._closed = False
        self.busy = False

    def knows(self, text: str) -> bool:
        """The present turn has a score for these words."""
        return words_of(text) in self._scores

    def request(self, text: str) -> None:
        """Score ``text``, after the text that is being scored now; a text that waits is replaced."""
        known = self._scores.get(words_of(text))
        if known is not None:
            self._on_score(text, known, None)
        elif self.busy:
            self._next = text
        else:
            self.busy = True
            loop = asyncio.get_running_loop()
            started_s = loop.time()
            future = loop.run_in_executor(self._thread, self._model.score, text)
            future.add_done_callback(lambda f: self._done(text, f, loop.time() - started_s))

    def reset(self) -> None:
        """A turn begins."""
        self._scores.clear()

    def close(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, text: str, future: asyncio.Future[float], took_s: float) -> None:
        self.busy = False
        if self._closed or future.cancelled():
            return
        if (error := future.exception()) is not None:
            if self._failed:
                raise error
            self._failed = True
            self._model = RuleEndOfTurnModel()
            self.request(text)
            return
        self._scores[words_of(text)] = future.result()
        self._on_score(text, future.result(), took_s)
        if (waiting := self._next) is not None:
            self._next = None
            self.request(waiting)
