"""Records the evidence of each turn, so that another policy can be replayed on it (voice_agent/testing/replay).

One record for each turn, from a little before its speech to the next turn's, or until :data:`AFTER_S` after its end.
All times are seconds of audio since the stream began.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

from ..config import TurnConfig
from ..turn_events import EndOfTurn, Reopen, SpeechStarted, TurnEvent

BEFORE_WINDOWS = 16  # half a second before the policy saw speech
AFTER_S = 3.0
MAX_WINDOWS = 4000  # two minutes; a longer turn keeps its beginning


class Recorder:
    """Give it all evidence and all decisions of the policy."""

    def __init__(self, config: TurnConfig) -> None:
        changed = {
            f.name: getattr(config, f.name)
            for f in dataclasses.fields(config)
            if getattr(config, f.name) != f.default and f.name != "record_evidence"
        }
        self._settings = changed
        self._before: deque[tuple[float, float]] = deque(maxlen=BEFORE_WINDOWS)
        self._record: dict[str, Any] | None = None
        self._closes_s = float("inf")

    @property
    def record(self) -> dict[str, Any] | None:
        """The present turn's record as plain JSON types, still growing. None before the first speech.

        ``settings``: those of ``[turn]`` that are not the defaults; ``windows``: [end, probability]; ``fading``: ends
        of windows with an energy drop; ``passes``: [covers, ready at, whole text]; ``scores``: [words, score, seconds
        it took]; ``began_s``: start of the speech; ``reopened``: whether
        the turn was reopened after its end.
        """
        return self._record

    def window(self, end_s: float, probability: float, energy_drop: bool = False) -> None:
        pair = (round(end_s, 3), round(probability, 3))
        self._before.append(pair)
        if self._record is not None and end_s <= self._closes_s and len(self._record["windows"]) < MAX_WINDOWS:
            self._record["windows"].append(list(pair))
            if energy_drop:
                self._record["fading"].append(pair[0])

    def text(self, whole: str, covers_s: float, now_s: float) -> None:
        if self._record is not None and whole:
            self._record["passes"].append([round(covers_s, 3), round(now_s, 4), whole])

    def score(self, words: str, score: float, took_s: float) -> None:
        if self._record is not None:
            self._record["scores"].append([words, round(score, 4), round(took_s, 4)])

    def decided(self, decision: TurnEvent) -> None:
        """A decision of the policy: a turn begins, is reopened, or ends."""
        if isinstance(decision, SpeechStarted):
            if self._record is not None:  # the new turn's first windows are not the old one's
                kept = [pair for pair in self._record["windows"] if pair[0] <= decision.at_s + 1e-3]
                self._record["windows"] = kept
            self._closes_s = float("inf")
            self._record = {
                "settings": self._settings,
                "began_s": round(decision.at_s, 3),
                "windows": [list(pair) for pair in self._before],
                "fading": [],
                "passes": [],
                "scores": [],
                "reopened": False,
            }
        elif isinstance(decision, Reopen) and self._record is not None:
            self._closes_s = float("inf")
            self._record["reopened"] = True
        elif isinstance(decision, EndOfTurn):
            self._closes_s = decision.speech_ended_s + decision.waited_s + AFTER_S
