"""How much silence ends the turn: the end-of-turn probability and the speaker's own pauses."""

from __future__ import annotations

from ..config import TurnConfig

USUAL_PAUSE_SHARE = 0.3
"""Weight of a new pause in the exponential average of a speaker's pauses."""


class WaitRule:
    """The evidence of one turn. The average pause is kept over turns."""

    def __init__(self, config: TurnConfig) -> None:
        self.config = config
        self._scores: dict[str, float] = {}
        self._inner_pauses: list[float] = []  # pauses of this turn after which the user went on
        self._usual_pause_s = 0.0

    def reset(self) -> None:
        """A turn begins."""
        self._scores.clear()
        self._inner_pauses.clear()

    def score(self, words: str) -> float | None:
        """The end-of-turn model's log-probability for these words."""
        return self._scores.get(words)

    def add_score(self, words: str, score: float) -> None:
        self._scores[words] = score

    def add_pause(self, pause_s: float) -> None:
        """The user went on after a pause of ``pause_s``."""
        if pause_s >= self.config.min_pause_s:
            self._inner_pauses.append(pause_s)
            self._usual_pause_s += USUAL_PAUSE_SHARE * (pause_s - self._usual_pause_s)

    def wait_s(self, words: str) -> float:
        """The silence in s after which a turn with these words ends."""
        c = self.config
        wait = self._by_score(self.score(words))
        if self._inner_pauses and wait < c.wait_unsure_s:  # a list, a speaker who thinks: wait as long as they do
            wait = max(wait, min(c.pause_factor * max(self._inner_pauses), c.wait_after_pauses_s))
        if wait < c.wait_after_pauses_s:
            wait = max(wait, min(c.usual_pause_factor * self._usual_pause_s, c.wait_after_pauses_s))
        return wait * c.patience_factor

    def _by_score(self, score: float | None) -> float:
        c = self.config
        if score is None:
            return c.wait_unsure_s
        if score >= c.score_sure:
            return c.wait_sure_s
        if score >= c.score_unsure:
            return _between(score, c.score_unsure, c.score_sure, c.wait_unsure_s, c.wait_sure_s)
        if score >= c.score_unfinished:
            return _between(score, c.score_unfinished, c.score_unsure, c.wait_unfinished_s, c.wait_unsure_s)
        return c.wait_unfinished_s


def _between(x: float, x0: float, x1: float, y0: float, y1: float) -> float:
    """Linear interpolation: y0 at x0, y1 at x1."""
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
