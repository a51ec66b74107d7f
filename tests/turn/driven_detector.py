"""A turn detector that a test drives, and models that it controls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np

from voice_agent.config import TurnConfig
from voice_agent.turn import EndOfTurnModel, TurnDetector
from voice_agent.turn_events import TurnEvent

WINDOW = 512
W = WINDOW / 16_000
TEXT = "What is the capital of France?"
CONFIG = TurnConfig(
    patience=0.5, start_windows=2, score_sure=-2.0, score_unsure=-3.0, score_unfinished=-4.0,
    score_early_preflight=-1.0,
    wait_sure_s=0.2, wait_unsure_s=0.6, wait_unfinished_s=1.6, hold_for_reply_s=0.1,
    usual_pause_factor=0.0, pause_factor=0.0, reopen_s=2.0, no_words_timeout_s=0.7,
    text_final_before_end_s=0.0, preflight_before_end_s=0.3, max_preflights=3, max_early_preflights=2,
    early_preflight_spacing_s=0.0,
    early_preflight_stable_s=0.0,
)  # fmt: skip


class SlowModel:
    """An end-of-turn model that returns when :attr:`go` lets it; notes the texts in order."""

    def __init__(self, scores: dict[str, float] | None = None) -> None:
        self.scores = scores or {}
        self.texts: list[str] = []
        self.go = threading.Semaphore(0)
        self.failing = False
        self.at_once = False
        self.most_at_a_time = 0
        self._inside = 0

    def score(self, text: str) -> float:
        self.texts.append(text)
        self._inside += 1
        self.most_at_a_time = max(self.most_at_a_time, self._inside)
        if not self.at_once:
            assert self.go.acquire(timeout=10)
        self._inside -= 1
        if self.failing:
            raise RuntimeError("the model has failed")
        return self.scores.get(text, -0.5)


class DrivenDetector:
    def __init__(self, end_of_turn_model: EndOfTurnModel, config: TurnConfig = CONFIG) -> None:
        self.detector = TurnDetector(config, end_of_turn_model)
        self.said: list[TurnEvent] = []
        self.detector.bind(self.said.append)
        self.windows = 0

    @property
    def now_s(self) -> float:
        return self.windows * W

    async def hear(self, seconds: float, probability: float) -> None:
        for _ in range(round(seconds / W)):
            self.windows += 1
            pcm = np.full(WINDOW, self.windows % 30_000, np.int16)
            self.detector.window(self.now_s, probability, pcm)
            await asyncio.sleep(0)

    async def speech(self, seconds: float = 0.64) -> None:
        await self.hear(seconds, 0.9)

    async def silence(self, seconds: float) -> None:
        await self.hear(seconds, 0.1)

    def text(self, text: str = TEXT) -> None:
        self.detector.text(text, self.now_s, self.now_s)

    def kinds(self) -> list[type]:
        return [type(d) for d in self.said]


async def until(true: Callable[[], bool]) -> None:
    """Wait for another thread, as long as it takes (a hung test is ended by the bound)."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for happens on another thread
            await asyncio.sleep(0.002)


MakeCall = Callable[..., DrivenDetector]
