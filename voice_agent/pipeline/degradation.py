"""Carries out for one session what :mod:`voice_agent.budget.latency_policy` decides (docs/budget.md lists the steps).

This knows the turn's deadlines and lets later turns go on with less (:mod:`.swaps`). The other steps are elsewhere: the
hedge in :mod:`voice_agent.llm.hedging`, the smaller first chunk in :mod:`voice_agent.tts`, the acknowledgement
in :mod:`.acknowledgements`, the apology in :mod:`.apologies`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from livekit.agents import utils
from livekit.agents.voice import SpeechHandle

from ..budget.attach import SessionLedger
from ..budget.hedge_policy import LatencyHistory
from ..budget.latency_policy import Degrader, TurnDeadlines
from ..budget.ledger import Mark, Turn
from ..budget.path import Stage
from ..budget.turn_verdict import Budget, verdict
from ..clock import SYSTEM, Clock
from ..config import Config
from ..trace import GenerationTrace
from .swaps import Swap

log = logging.getLogger("voice_agent")


class Degradation:
    """For one session. ``swaps``: by stage, what can be done with less, in order. ``on_note``: shown to the user."""

    def __init__(
        self,
        config: Config,
        ledger: SessionLedger,
        *,
        swaps: Mapping[Stage, Sequence[Swap]],
        on_note: Callable[[str], None],
        clock: Clock = SYSTEM,
    ) -> None:
        budget = config.budget
        self.swaps = swaps
        self.deadlines = TurnDeadlines(
            total_s=budget.total_ms / 1000,
            llm_s=budget.llm_ms / 1000,
            voice_s=(budget.tts_ms + budget.output_ms) / 1000,
        )
        self._config = config.degradation
        self._ledger = ledger
        self._reply_times = LatencyHistory()
        self._on_note = on_note
        self._budget = Budget.from_config(budget)
        self._degrader = Degrader(config.degradation, {stage: len(ways) for stage, ways in swaps.items()})
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio keeps only weak references

    # --- the present turn ---------------------------------------------------------------------------------------------

    def watch(self, trace: GenerationTrace, handle: SpeechHandle) -> None:
        """Let that generation ask whether its turn is at risk of missing the budget."""
        if self._config.small_first:
            trace.at_risk = partial(self._at_risk, trace, handle)

    def _at_risk(self, trace: GenerationTrace, handle: SpeechHandle) -> bool:
        return self.deadlines.at_risk(
            self._clock.now(),
            speech_ended_s=self._ledger.speech_ended_at if handle.scheduled else None,
            requested_s=trace.marks.get(Mark.LLM_REQUESTED),
        )

    def reply_came(self, trace: GenerationTrace) -> float | None:
        """A reply's first sound is there. Returns the shortest time from request to sound (s); None: not known yet."""
        asked, heard = trace.marks.get(Mark.LLM_REQUESTED), trace.marks.get(Mark.TTS_FIRST_AUDIO)
        if asked is not None and heard is not None and heard >= asked:
            self._reply_times.add(heard - asked)
        return self._reply_times.soonest_s()

    # --- later turns --------------------------------------------------------------------------------------------------

    def turn_closed(self, turn: Turn) -> None:
        """A turn is over: do later ones go on with less, or with more again?"""
        if not self._config.degrade or not turn.counts_for_latency or turn.voice_to_voice_ms is None:
            return
        judged = verdict(turn, self._budget)
        step = self._degrader.turn(turn.voice_to_voice_ms, self._budget.total_ms, judged.guilty)
        if step is None:
            return
        ways = self.swaps[step.stage]
        done = [way for way in ways if way.name in self._ledger.degraded]
        less = step.level > len(done)
        way = ways[step.level - 1] if less else ways[step.level]
        if less and (why := way.hindered()):
            self._degrader.refused(step.stage)
            log.info("%s, but not going on with %s: %s", step.why, way.name, why)
            return
        task = asyncio.get_running_loop().create_task(self._swap(way, less, step.why), name="degradation.swap")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _swap(self, way: Swap, less: bool, why: str) -> None:
        ledger = self._ledger
        others = tuple(name for name in ledger.degraded if name != way.name)
        ledger.degraded = (*others, way.name) if less else others
        try:
            await way.to(less)
        except Exception as error:  # whatever a model raises: the call goes on with what it has
            ledger.degraded = others if less else (*others, way.name)
            log.warning("cannot change to %s: %s", way.name, error)
            return
        self._on_note(f"{why}: {'going on with ' + way.name if less else 'back from ' + way.name}")

    async def aclose(self) -> None:
        """Cancel what is under way."""
        await utils.aio.cancel_and_wait(*self._tasks)


__all__ = ["Degradation"]
