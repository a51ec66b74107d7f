"""Replay recorded evidence through a turn policy on the recording's timeline: delay, cut-offs, requests. Pure.

:func:`replay` runs the real :class:`TurnPolicy`, fed as the detector feeds it. The others (:func:`silence`, and
:func:`mini` for v1-mini alone) have the same pipeline around them: the model is asked as soon as a text covers all of
the speech, and a reply that is not audible yet is cancelled if the user goes on. Only the decision differs.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...budget.stage_times import StageTimes
from ...config import TurnConfig
from ...turn.turn_policy import TurnPolicy
from ...turn.turn_text import words_of
from ...turn_events import EndOfTurn, Preflight, Reopen, SpeechStarted, TurnEvent
from .recorded import WINDOW_S, Evidence

ACOUSTIC_AT_S = 0.2
"""How much of a pause v1-mini needs."""
ACOUSTIC_TAKES_S = 0.045
NOTICED_S = 2 * WINDOW_S  # two windows with speech make it speech


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """What the policy would have done. ``delay_s``: end of speech to the first audible sample; ``cut``: audible before
    the end of speech.

    ``requests``: to the language model. ``tokens_wasted``: of replies that were not played; a reply counts whole once
    its first content had come (an upper bound). ``waited_s``: the silence before the last end of turn.
    """

    name: str
    kind: str
    delay_s: float | None
    cut: bool
    requests: int
    tokens_wasted: int = 0
    waited_s: float | None = None


class _Replay:
    """One utterance under our policy."""

    def __init__(self, found: Evidence, config: TurnConfig, stage_times: StageTimes) -> None:
        self.found = found
        self.stage_times = stage_times
        self.wasted = 0
        self.waited: float | None = None
        self.policy = TurnPolicy(config)
        self.policy.reply_takes_s = stage_times.llm_s + stage_times.voice_s
        self._queue: list[tuple[float, int, Callable[..., tuple[TurnEvent, ...]], tuple[Any, ...]]] = []
        self._count = 0
        self.requests, self.cut = 0, False
        self.delay: float | None = None
        self._asked: tuple[str, float] | None = None  # words, when that reply is ready
        self._end_of_turn: EndOfTurn | None = None
        self._reopened = self._answered = ""  # words of this utterance that an earlier end of turn has taken
        self._scoring, self._next_words = False, ""

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
            self.found.name, self.found.kind, self.delay, self.cut, self.requests, self.wasted, self.waited
        )

    def _push(self, at: float, act: Callable[..., tuple[TurnEvent, ...]], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, act, args))

    # --- evidence, as the detector passes it on -----------------------------------------------------------------------

    def _window(self, end: float, probability: float, energy_drop: bool) -> tuple[TurnEvent, ...]:
        return self.policy.window(end, probability, WINDOW_S, energy_drop)

    def _tick(self) -> tuple[TurnEvent, ...]:
        return self.policy.advance(self._now)

    def _text(self, text: str, covers_s: float) -> tuple[TurnEvent, ...]:
        out = self.policy.text(self._rest(text), covers_s, self._now)
        if self.policy.in_speech and text:
            self._end_of_turn_model(words_of(self.policy.present_text))
        return out

    def _rest(self, text: str) -> str:
        """The text without the words of an earlier turn: after a reopening the policy puts these in front itself."""
        before = self._reopened.split()
        words = text.split()
        n = len(before)
        return " ".join(words[n:]) if before and words_of(" ".join(words[:n])) == words_of(self._reopened) else text

    def _end_of_turn_model(self, words: str) -> None:
        """One question at a time, the latest text first."""
        if self._scoring:
            self._next_words = words
        elif words in self.found.scores:
            score, took = self.found.scores[words]
            self._scoring = True
            self._push(self._now + took, self._scored, words, score)

    def _scored(self, words: str, score: float) -> tuple[TurnEvent, ...]:
        self._scoring = False
        out = self.policy.end_of_turn_score(words, score, self._now)
        if self._next_words:
            next_words, self._next_words = self._next_words, ""
            self._end_of_turn_model(next_words)
        return out

    # --- decisions ----------------------------------------------------------------------------------------------------

    def _decided(self, decision: TurnEvent) -> None:
        if isinstance(decision, Preflight):
            self._request(decision.text)
            self._push(self._now + self.stage_times.llm_s + self.stage_times.voice_s, self._ready, decision.text)
        elif isinstance(decision, EndOfTurn):
            self._end_of_turn = decision
            words = words_of(decision.text)
            if self._asked is None or self._asked[0] != words:
                self._request(decision.text)
            assert self._asked is not None
            self.waited = decision.waited_s
            self._push(max(self._now, self._asked[1]) + self.stage_times.output_s, self._audible, decision)
        elif isinstance(decision, Reopen):
            self._given_up()
            self._end_of_turn, self._reopened = None, decision.text
        elif isinstance(decision, SpeechStarted):
            self._given_up()
            self._reopened, self._answered = self._answered, ""

    def _given_up(self) -> None:
        """The reply requested last will not be played; it costs tokens from its first content on."""
        if self._asked is not None and self._now >= self._asked[1] - self.stage_times.voice_s:
            self.wasted += self.stage_times.tokens
        self._asked = None

    def _request(self, text: str) -> None:
        self.requests += 1
        self._given_up()
        self._asked = (words_of(text), self._now + self.stage_times.llm_s + self.stage_times.voice_s)

    def _ready(self, text: str) -> tuple[TurnEvent, ...]:
        current = self._asked is not None and self._asked[0] == words_of(text) and self._now >= self._asked[1] - 1e-9
        return self.policy.reply_ready(text, self._now) if current else ()

    def _audible(self, commit: EndOfTurn) -> tuple[TurnEvent, ...]:
        if commit is not self._end_of_turn:
            return ()  # cancelled: the user went on
        self.policy.audible(self._now)
        self._asked = None  # played: not wasted
        self._answered = commit.text
        if self._now < self.found.speech_end_s - 0.001:
            self.cut = True
        elif self.delay is None:
            self.delay = self._now - self.found.speech_end_s
        return ()


def replay(found: Evidence, config: TurnConfig, stage_times: StageTimes | None = None) -> ReplayOutcome:
    """Our policy under ``config``. ``stage_times``: of the other stages; None: the bench's 170, 40 and 12 ms."""
    return _Replay(found, config, stage_times or StageTimes()).run()


def _plain(found: Evidence, wait_s: Callable[[float], float], stage_times: StageTimes | None = None) -> ReplayOutcome:
    """``wait_s(end of speech)``: the silence after which this policy ends the turn."""
    cut, delay, requests = False, None, 0
    times = stage_times or StageTimes()
    for ended, resumed in found.pauses:
        ready = next((at for begun, at, text in found.passes if begun >= ended and text), None)
        if ready is None:
            continue
        requests += 1
        audible = max(ended + wait_s(ended), ready + times.llm_s + times.voice_s) + times.output_s
        if resumed is not None and audible >= resumed + NOTICED_S:
            continue
        if audible < found.speech_end_s - 0.001:
            cut = True
        elif delay is None:
            delay = audible - found.speech_end_s
    return ReplayOutcome(found.name, found.kind, delay, cut, requests)


def silence(found: Evidence, wait_s: float, stage_times: StageTimes | None = None) -> ReplayOutcome:
    """End the turn after ``wait_s`` of silence, whatever was said."""
    return _plain(found, lambda ended: wait_s, stage_times)


def mini(found: Evidence, threshold: float, max_wait_s: float, stage_times: StageTimes | None = None) -> ReplayOutcome:
    """v1-mini alone: end the turn 0.2 s into a pause (and its own time) if it says so, else after ``max_wait_s``."""

    def wait(ended: float) -> float:
        sure = found.acoustic.get(f"{ended:.3f}", 0.0) >= threshold
        return ACOUSTIC_AT_S + ACOUSTIC_TAKES_S if sure else max_wait_s

    return _plain(found, wait, stage_times)
