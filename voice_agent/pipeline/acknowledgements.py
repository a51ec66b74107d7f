"""Before a late answer the agent says a short filler ("Let me see."), cached in its own voice (docs/budget.md).

:class:`~voice_agent.budget.latency_policy.Acknowledger` decides whether it is due and which one it is.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any

from livekit.agents import FlushSentinel, llm, tts, utils
from livekit.agents.voice import SpeechHandle

from ..budget.attach import SessionLedger
from ..budget.latency_policy import Acknowledger
from ..config import DegradationConfig
from ..livekit_compat.speech import current_speech
from ..trace import GenerationTrace
from .fillers import Filler, cache_fillers

log = logging.getLogger("voice_agent")

POLL_S = 0.03
"""How often a waiting turn looks whether an acknowledgement is due."""
BLANK = " "
"""LiveKit begins a segment of speech with its first text; an acknowledgement's segment has none."""

_wordless: weakref.WeakSet[SpeechHandle] = weakref.WeakSet()
"""Speeches that began with an acknowledgement."""


def mark_wordless(speech: SpeechHandle) -> None:
    """That speech has a segment without a transcript, on purpose: LiveKit's warning about it is suppressed."""
    _wordless.add(speech)


class _WordlessOnPurpose(logging.Filter):
    """Drops LiveKit's warning that a segment has no transcript, in the tasks of speeches marked as wordless only."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "no agent transcript was returned from tts" not in record.getMessage():
            return True
        return current_speech() not in _wordless


logging.getLogger("livekit.agents").addFilter(_WordlessOnPurpose())


class Acknowledgements:
    """For one session. ``voice_s``: TTS and output take this long after the LLM's first token. ``user_speaks()``: the
    user is speaking now. ``fillers``: the cached ones, by text."""

    def __init__(
        self,
        config: DegradationConfig,
        ledger: SessionLedger,
        *,
        voice_s: float,
        user_speaks: Callable[[], bool],
        fillers: dict[str, Filler],
    ) -> None:
        self.enabled = config.acknowledge
        self._acknowledger = Acknowledger(config)
        self._ledger = ledger
        self._voice_s = voice_s
        self._user_speaks = user_speaks
        self._fillers = fillers
        self._due: dict[str, Filler] = {}

    @property
    def _phrases(self) -> tuple[str, ...]:
        return (*self._acknowledger.question, *self._acknowledger.other)

    async def cache(self, voice: tts.TTS[Any], *, idle: Callable[[], bool]) -> None:
        """Synthesise the fillers while ``idle()``. If the voice cannot, late answers come without one."""
        try:
            await cache_fillers(voice, self._phrases, self._fillers, idle=idle)
        except Exception as error:  # whatever a voice raises
            log.warning("no acknowledgements before late answers: %s", error)

    async def before(
        self,
        answer: AsyncIterable[llm.ChatChunk | str | FlushSentinel],
        trace: GenerationTrace,
        handle: SpeechHandle,
        user_text: str,
    ) -> AsyncGenerator[llm.ChatChunk | str | FlushSentinel, None]:
        """The answer; before a late one, an empty segment of speech, whose sound is what :meth:`sound_of` returns."""
        if not self.enabled:
            async for chunk in answer:
                yield chunk
            return
        came: utils.aio.Chan[llm.ChatChunk | str | FlushSentinel] = utils.aio.Chan()
        # In one task, since LiveKit's node keeps context variables across its steps.
        reading = asyncio.create_task(_forward(answer, came), name="acknowledgements.read")
        receiving = asyncio.ensure_future(came.recv())
        said = False
        try:
            while True:
                await asyncio.wait({receiving}, timeout=None if said else POLL_S)
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
        """Whether an acknowledgement is due now; then it is chosen, and the ledger is told."""
        if not handle.scheduled or handle.interrupted or self._user_speaks() or trace.rest_s is None:
            return False
        first_s = trace.rest_s()
        rest_s = None if first_s is None else first_s + self._voice_s
        ready = any(phrase in self._fillers for phrase in self._phrases)
        if not ready or not self._acknowledger.due(self._ledger.turn_number, rest_s):
            return False
        phrase = self._acknowledger.choose(self._ledger.turn_number, user_text)
        if phrase is None or phrase not in self._fillers:
            return False
        self._due[handle.id] = self._fillers[phrase]
        mark_wordless(handle)
        self._ledger.acknowledging(handle.id)
        trace.degradation_step("acknowledge", phrase)
        return True

    def sound_of(self, speech_id: str) -> Filler | None:
        """The sound of that speech's next segment, if it is an acknowledgement; given once."""
        return self._due.pop(speech_id, None)


async def _forward(
    answer: AsyncIterable[llm.ChatChunk | str | FlushSentinel],
    came: utils.aio.Chan[llm.ChatChunk | str | FlushSentinel],
) -> None:
    try:
        async for chunk in answer:
            came.send_nowait(chunk)
    finally:
        came.close()


__all__ = ["Acknowledgements", "mark_wordless"]
