"""Carries out for one session what :mod:`.budget.latency_policy` decides (docs/budget.md lists the degradation steps).

The hedge is in :mod:`.llm.hedge`, the smaller first chunk in :mod:`.tts.stream`, the apology in :mod:`.session`; this
knows the turn's deadlines, says the short word, and lets later turns go on with less.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any

from livekit.agents import FlushSentinel, llm, utils
from livekit.agents.voice import SpeechHandle

from ..budget.attach import SessionLedger
from ..budget.hedge_policy import LatencyHistory
from ..budget.latency_policy import Acknowledger, Degrader, TurnDeadlines
from ..budget.ledger import Mark, Turn
from ..budget.path import Stage
from ..budget.turn_verdict import Budget, verdict
from ..clock import SYSTEM, Clock
from ..config import Config, DegradationConfig
from ..livekit_compat.speech import current_speech
from ..runtime import malloc as memory
from ..trace import GenerationTrace
from .fillers import Sound

log = logging.getLogger("voice_agent")

LOOK_S = 0.03
"""How often it is looked whether a short word is due, while a committed turn waits."""
BLANK = " "
"""LiveKit opens a stretch of speech with its first text; this one has none."""


_wordless: weakref.WeakSet[SpeechHandle] = weakref.WeakSet()
"""Speeches that began with an acknowledgement."""


class _MeantSo(logging.Filter):
    """LiveKit warns of a reply of which one stretch has no words. An acknowledgement has none on purpose: of speeches
    that began with one, and of no others, this is not said. (It is logged in the task of that speech.)"""

    def filter(self, record: logging.LogRecord) -> bool:
        if "no agent transcript was returned from tts" not in record.getMessage():
            return True
        return current_speech() not in _wordless


logging.getLogger("livekit.agents").addFilter(_MeantSo())


class Swap:
    """One way to go on with less: ``to(True)`` does it, ``to(False)`` goes back; ``name`` is what is said of it.

    ``hindered()``: why it cannot be done now; empty if it can.
    """

    def __init__(
        self, name: str, to: Callable[[bool], Awaitable[None]], hindered: Callable[[], str] = lambda: ""
    ) -> None:
        self.name = name
        self.to = to
        self.hindered = hindered


class Degradation:
    """For one session. ``swaps``: by stage, what can be done with less, in order. ``on_note``: said on the screen."""

    def __init__(
        self,
        config: Config,
        *,
        swaps: Mapping[Stage, Sequence[Swap]] | None = None,
        on_note: Callable[[str], None] = lambda _: None,
        clock: Clock = SYSTEM,
    ) -> None:
        budget = config.budget
        self.config = config.degradation
        self.deadlines = TurnDeadlines(
            total_s=budget.total_ms / 1000,
            llm_s=budget.llm_ms / 1000,
            voice_s=(budget.tts_ms + budget.output_ms) / 1000,
        )
        self.acknowledger = Acknowledger(config.degradation)
        self.sounds: dict[str, Sound] = {}
        self.reply_pace = LatencyHistory()
        self.ledger: Callable[[], SessionLedger] | None = None
        self.user_speaks: Callable[[], bool] = lambda: False
        self.on_note = on_note
        self._budget = Budget.from_config(budget)
        self._swaps = swaps or {}
        self._degrader = Degrader(config.degradation, {stage: len(ways) for stage, ways in self._swaps.items()})
        self._clock = clock
        self._due: dict[str, Sound] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- deadlines ----------------------------------------------------------------------------------------------------

    def watch(self, trace: GenerationTrace, handle: SpeechHandle) -> None:
        """Have that generation know whether its turn is at risk."""
        if not self.config.small_first or self.ledger is None:
            return
        ledger = self.ledger()

        def at_risk() -> bool:
            return self.deadlines.at_risk(
                self._clock.now(),
                speech_ended_s=ledger.speech_ended_at if handle.scheduled else None,
                requested_s=trace.marks.get(Mark.LLM_REQUESTED),
            )

        trace.at_risk = at_risk

    def reply_came(self, trace: GenerationTrace) -> float | None:
        """A reply's first sound is there. Returns how soon after a request one may be (None: not known yet)."""
        asked, heard = trace.marks.get(Mark.LLM_REQUESTED), trace.marks.get(Mark.TTS_FIRST_AUDIO)
        if asked is not None and heard is not None and heard >= asked:
            self.reply_pace.add(heard - asked)
        return self.reply_pace.soonest_s()

    # --- the short word -----------------------------------------------------------------------------------------------

    async def acknowledged(
        self,
        answer: AsyncIterable[llm.ChatChunk | str | FlushSentinel],
        trace: GenerationTrace,
        handle: SpeechHandle,
        user_text: str,
    ) -> AsyncGenerator[llm.ChatChunk | str | FlushSentinel, None]:
        """The answer; before it, if it will be long, an empty stretch of speech that :meth:`sound_of` has words for."""
        if not self.config.acknowledge or self.ledger is None:
            async for chunk in answer:
                yield chunk
            return
        came: utils.aio.Chan[llm.ChatChunk | str | FlushSentinel] = utils.aio.Chan()

        async def read() -> None:  # in one task, since LiveKit's node keeps context variables across its steps
            try:
                async for chunk in answer:
                    came.send_nowait(chunk)
            finally:
                came.close()

        reading = asyncio.create_task(read(), name="degradation.read")
        receiving = asyncio.ensure_future(came.recv())
        said = False
        try:
            while True:
                await asyncio.wait({receiving}, timeout=None if said else LOOK_S)
                if receiving.done():
                    break
                if not said and self._say(trace, handle, user_text):
                    said = True
                    yield BLANK
                    yield FlushSentinel()
            try:
                yield receiving.result()
                async for chunk in came:
                    yield chunk
            except utils.aio.ChanClosed:
                pass
            await reading
        finally:
            await utils.aio.cancel_and_wait(receiving, reading)

    def _say(self, trace: GenerationTrace, handle: SpeechHandle, user_text: str) -> bool:
        """Whether a short word is due now; then it is chosen, and the ledger knows."""
        assert self.ledger is not None
        if not handle.scheduled or handle.interrupted or self.user_speaks() or trace.rest_s is None:
            return False
        ledger, first_s = self.ledger(), trace.rest_s()
        rest_s = None if first_s is None else first_s + self.deadlines.voice_s
        ready = any(phrase in self.sounds for phrase in (*self.acknowledger.question, *self.acknowledger.other))
        if not ready or not self.acknowledger.due(ledger.turn_number, rest_s):
            return False
        phrase = self.acknowledger.choose(ledger.turn_number, user_text)
        if phrase is None or phrase not in self.sounds:
            return False
        self._due[handle.id] = self.sounds[phrase]
        _wordless.add(handle)
        ledger.acknowledging(handle.id)
        trace.degradation_step("acknowledge", phrase)
        return True

    def sound_of(self, speech_id: str) -> Sound | None:
        """What the next stretch of that speech is, if it is an acknowledgement; asked once."""
        return self._due.pop(speech_id, None)

    # --- later turns --------------------------------------------------------------------------------------------------

    def closed(self, turn: Turn) -> None:
        """A turn is over: do later ones go on with less, or with more again?"""
        if not self.config.degrade or not turn.counts_for_latency or turn.voice_to_voice_ms is None:
            return
        judged = verdict(turn, self._budget)
        step = self._degrader.turn(turn.voice_to_voice_ms, self._budget.total_ms, judged.guilty)
        if step is None:
            return
        ways = self._swaps[step.stage]
        before = [way for way in ways if way.name in self._names()]
        less = step.level > len(before)
        way = ways[step.level - 1] if less else ways[step.level]
        if less and (why := way.hindered()):
            self._degrader.refused(step.stage)
            log.info("%s, but not going on with %s: %s", step.why, way.name, why)
            return
        task = asyncio.get_running_loop().create_task(self._go(way, less, step.why), name="degradation.degrade")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _names(self) -> tuple[str, ...]:
        return self.ledger().degraded if self.ledger is not None else ()

    async def _go(self, way: Swap, less: bool, why: str) -> None:
        assert self.ledger is not None
        ledger = self.ledger()
        kept = tuple(name for name in ledger.degraded if name != way.name)
        ledger.degraded = (*kept, way.name) if less else kept
        try:
            await way.to(less)
        except Exception as error:  # whatever a model raises: the call goes on with what it has
            ledger.degraded = kept if less else (*kept, way.name)
            log.warning("cannot change to %s: %s", way.name, error)
            return
        self.on_note(f"{why}: {'going on with ' + way.name if less else 'back from ' + way.name}")

    async def aclose(self) -> None:
        """Nothing of it goes on."""
        await utils.aio.cancel_and_wait(*self._tasks)


def swaps_of(
    mind: Any,
    config: Config,
    stt: Any,
    smaller_whisper: Callable[[], Awaitable[Any]],
    room_for_whisper: Callable[[], str] = lambda: "",
) -> dict[Stage, list[Swap]]:
    """What a session can go on with less of. ``mind``: a :class:`.llm.hedge.HedgedLLM`; ``stt`` has an ``engine``.

    A second Whisper takes memory: ``room_for_whisper`` says why it may not be loaded, or nothing.
    """

    async def other_model(less: bool) -> None:
        mind.models.second_first = less

    async def short(less: bool) -> None:
        mind.models.short_tokens = config.degradation.short_reply_tokens if less else None

    usual = stt.engine

    async def whisper(less: bool) -> None:
        stt.engine = await smaller_whisper() if less else usual

    out: dict[Stage, list[Swap]] = {}
    if mind.models.primary.endpoint.kind != "embedded":
        out[Stage.LLM] = [Swap("short replies", short)]
        if mind.models.second is not None:
            out[Stage.LLM].insert(0, Swap(f"{mind.models.second.provider} first", other_model))
    if config.stt.language == "en" and config.stt.model != SMALLEST_WHISPER:
        out[Stage.STT] = [Swap(f"Whisper {SMALLEST_WHISPER}", whisper, room_for_whisper)]
    return out


SMALLEST_WHISPER = "tiny.en"
SMALLEST_NEEDS_MB = 115.0
"""While it is loaded: its file (75 MB) is read whole, then made smaller; 36 of it stay (one run, beside base)."""


def room_for_whisper(config: DegradationConfig) -> str:
    """Why a second Whisper may not be loaded; empty: it may. Gives free memory back first."""
    memory.trim_heap()
    needed_mb = memory.resident_mb() + SMALLEST_NEEDS_MB
    if needed_mb <= config.degrade_memory_mb:
        return ""
    return f"that takes {needed_mb:.0f} MB, and degradation.degrade_memory_mb is {config.degrade_memory_mb}"
