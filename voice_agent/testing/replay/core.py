"""Replay recorded evidence through a turn policy on its own time line: delay, cut-offs, requests.

Ours is the real :class:`TurnPolicy`, fed as the detector feeds it. The others (plain silence, v1-mini alone) are given
the same road: the model is asked as soon as a text has heard everything, and a reply that is not audible yet is taken
back if the user goes on. So what differs is the decision alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...budget.stage_times import StageTimes
from ...config import TurnConfig
from ...turn.acoustic import ACOUSTIC_AT_S
from ...turn.turn_policy import TurnPolicy, TurnState
from ...turn.turn_text import words_of
from ...turn_events import EndOfTurn, Preflight, Reopen, SpeechStarted, TurnEvent
from .recorded import WINDOW_S, Evidence

ACOUSTIC_TAKES_S = 0.045
NOTICED_S = 2 * WINDOW_S  # speech is believed after two windows


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """What would have been heard. ``delay_s``: end of speech to the first audible; ``cut``: audible before the end.

    ``asks``: requests to the model; ``tokens_wasted``: of replies nobody heard, as if each had been written to its end
    once its first word had come (an upper bound). ``waited_s``: the silence before the last commit.
    """

    name: str
    kind: str
    delay_s: float | None
    cut: bool
    asks: int
    tokens_wasted: int = 0
    waited_s: float | None = None


class _Replay:
    """One clip under our policy."""

    def __init__(self, found: Evidence, config: TurnConfig, pace: StageTimes) -> None:
        self.found = found
        self.pace = pace
        self.wasted = 0
        self.waited: float | None = None
        self.policy = TurnPolicy(config)
        self.policy.reply_takes_s = pace.llm_s + pace.voice_s
        self.acoustic = config.acoustic
        self._queue: list[tuple[float, int, Callable[..., tuple[TurnEvent, ...]], tuple[Any, ...]]] = []
        self._count = 0
        self.asks, self.cut = 0, False
        self.delay: float | None = None
        self._asked: tuple[str, float] | None = None  # words, when that reply is ready
        self._commit: EndOfTurn | None = None
        self._reopened = self._answered = ""  # what an earlier commit has had of this utterance's words
        self._judging, self._wanted = False, ""
        self._acoustic_for = -1.0

    def run(self) -> ReplayOutcome:
        energy_drop = set(self.found.energy_drop)
        for end, probability in self.found.windows:
            self._push(end, self._window, end, probability, end in energy_drop)
            for tick in (0.010, 0.020):
                self._push(end + tick, self._tick)
        for begun, ready, text in self.found.passes:
            self._push(ready, self._text, text, begun)
        while self._queue:
            self._now, _, act, args = heapq.heappop(self._queue)
            for decision in act(*args):
                self._decided(decision)
        return ReplayOutcome(
            self.found.name, self.found.kind, self.delay, self.cut, self.asks, self.wasted, self.waited
        )

    def _push(self, at: float, act: Callable[..., tuple[TurnEvent, ...]], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, act, args))

    # --- evidence, as the detector hands it on ------------------------------------------------------------------------

    def _window(self, end: float, probability: float, energy_drop: bool) -> tuple[TurnEvent, ...]:
        out = self.policy.window(end, probability, WINDOW_S, energy_drop)
        p, ended = self.policy, self.policy.speech_ended_s
        asks = self.acoustic and p.state is TurnState.PAUSED and self._acoustic_for != ended
        if asks and end - ended >= ACOUSTIC_AT_S and p.wait_s() > ACOUSTIC_AT_S:
            self._acoustic_for = ended
            if (said := self.found.acoustic.get(f"{ended:.3f}")) is not None:
                self._push(end + ACOUSTIC_TAKES_S, self._heard_pause, ended, said)
        return out

    def _heard_pause(self, ended: float, probability: float) -> tuple[TurnEvent, ...]:
        return self.policy.acoustic(probability, self._now) if self.policy.speech_ended_s == ended else ()

    def _tick(self) -> tuple[TurnEvent, ...]:
        return self.policy.advance(self._now)

    def _text(self, text: str, covers_s: float) -> tuple[TurnEvent, ...]:
        out = self.policy.text(self._rest(text), covers_s, self._now)
        if self.policy.in_speech and text:
            self._end_of_turn_model(words_of(self.policy.present_text))
        return out

    def _rest(self, text: str) -> str:
        """After a reopening the policy puts the committed words in front itself; a new turn has only the others."""
        before = self._reopened.split()
        words = text.split()
        n = len(before)
        return " ".join(words[n:]) if before and words_of(" ".join(words[:n])) == words_of(self._reopened) else text

    def _end_of_turn_model(self, words: str) -> None:
        """One question at a time, the latest text first."""
        if self._judging:
            self._wanted = words
        elif words in self.found.scores:
            score, took = self.found.scores[words]
            self._judging = True
            self._push(self._now + took, self._judged, words, score)

    def _judged(self, words: str, score: float) -> tuple[TurnEvent, ...]:
        self._judging = False
        out = self.policy.end_of_turn_score(words, score, self._now)
        if self._wanted:
            wanted, self._wanted = self._wanted, ""
            self._end_of_turn_model(wanted)
        return out

    # --- decisions ----------------------------------------------------------------------------------------------------

    def _decided(self, decision: TurnEvent) -> None:
        if isinstance(decision, Preflight):
            self._request(decision.text)
            self._push(self._now + self.pace.llm_s + self.pace.voice_s, self._ready, decision.text)
        elif isinstance(decision, EndOfTurn):
            self._commit = decision
            words = words_of(decision.text)
            if self._asked is None or self._asked[0] != words:
                self._request(decision.text)
            assert self._asked is not None
            self.waited = decision.waited_s
            self._push(max(self._now, self._asked[1]) + self.pace.output_s, self._audible, decision)
        elif isinstance(decision, Reopen):
            self._given_up()
            self._commit, self._reopened = None, decision.text
        elif isinstance(decision, SpeechStarted):
            self._given_up()
            self._reopened, self._answered = self._answered, ""

    def _given_up(self) -> None:
        """The reply asked for last will not be heard; tokens flow from the first content on."""
        if self._asked is not None and self._now >= self._asked[1] - self.pace.voice_s:
            self.wasted += self.pace.tokens
        self._asked = None

    def _request(self, text: str) -> None:
        self.asks += 1
        self._given_up()
        self._asked = (words_of(text), self._now + self.pace.llm_s + self.pace.voice_s)

    def _ready(self, text: str) -> tuple[TurnEvent, ...]:
        current = self._asked is not None and self._asked[0] == words_of(text) and self._now >= self._asked[1] - 1e-9
        return self.policy.reply_ready(text, self._now) if current else ()

    def _audible(self, commit: EndOfTurn) -> tuple[TurnEvent, ...]:
        if commit is not self._commit:
            return ()  # taken back: the user went on
        self.policy.audible(self._now)
        self._asked = None  # it is played: not wasted
        self._answered = commit.text
        if self._now < self.found.speech_end_s - 0.001:
            self.cut = True
        elif self.delay is None:
            self.delay = self._now - self.found.speech_end_s
        return ()


def replay(found: Evidence, config: TurnConfig, pace: StageTimes | None = None) -> ReplayOutcome:
    """Our policy under ``config``. ``pace``: of the other stages; None gives the bench's 170, 40 and 12 ms."""
    return _Replay(found, config, pace or StageTimes()).run()


def _plain(found: Evidence, wait_s: Callable[[float], float], pace: StageTimes | None = None) -> ReplayOutcome:
    """``wait_s(end of speech)``: the silence after which this policy commits."""
    cut, delay, asks = False, None, 0
    pace = pace or StageTimes()
    for ended, resumed in found.pauses:
        ready = next((at for begun, at, text in found.passes if begun >= ended and text), None)
        if ready is None:
            continue
        asks += 1
        audible = max(ended + wait_s(ended), ready + pace.llm_s + pace.voice_s) + pace.output_s
        if resumed is not None and audible >= resumed + NOTICED_S:
            continue
        if audible < found.speech_end_s - 0.001:
            cut = True
        elif delay is None:
            delay = audible - found.speech_end_s
    return ReplayOutcome(found.name, found.kind, delay, cut, asks)


def silence(found: Evidence, wait_s: float, pace: StageTimes | None = None) -> ReplayOutcome:
    """Commit after ``wait_s`` of silence, whatever was said."""
    return _plain(found, lambda ended: wait_s, pace)


def mini(found: Evidence, threshold: float, max_wait_s: float, pace: StageTimes | None = None) -> ReplayOutcome:
    """v1-mini alone: commit 0.2 s into a pause (and its own time) if it says so, else after ``max_wait_s``."""

    def wait(ended: float) -> float:
        sure = found.acoustic.get(f"{ended:.3f}", 0.0) >= threshold
        return ACOUSTIC_AT_S + ACOUSTIC_TAKES_S if sure else max_wait_s

    return _plain(found, wait, pace)
