"""The default agent: LiveKit's, with a trace of each generation, so that the ledger knows which one was played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any

from livekit import rtc
from livekit.agents import Agent, FlushSentinel, ModelSettings, llm

from .. import trace as generation_trace
from ..budget.attach import SessionLedger
from ..livekit_compat.speech import current_speech, when_scheduled
from .acknowledgements import Acknowledgements
from .agent_speech import AgentSpeech
from .degradation import Degradation
from .hooks import PipelineHooks
from .turn_detectors import TurnDetectors


class VoiceAgent(Agent):
    """``instructions`` and tools as LiveKit's Agent takes them; the other parts are the session's.

    When a reply has its first audio (it may be provisional), ``detectors`` are told, and how soon one can be ready.
    """

    def __init__(
        self,
        *,
        ledger: SessionLedger,
        detectors: TurnDetectors,
        speech: AgentSpeech,
        degradation: Degradation,
        acknowledgements: Acknowledgements,
        hooks: PipelineHooks,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._ledger = ledger
        self._detectors = detectors
        self._speech = speech
        self._degradation = degradation
        self._acknowledgements = acknowledgements
        self._hooks = hooks
        self._user_texts: dict[str, str] = {}  # by generation: the text that it answers

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[llm.Tool], model_settings: ModelSettings
    ) -> AsyncIterable[llm.ChatChunk | str | FlushSentinel]:
        trace = self._adopt_trace()
        if trace is not None:
            last = next((m for m in reversed(chat_ctx.items) if m.type == "message" and m.role == "user"), None)
            self._user_texts[trace.id] = (last.text_content or "") if last is not None else ""
        handle = current_speech()
        if trace is not None and (delay_s := self._hooks.llm_delay_s()):
            trace.mark("llm_requested")  # for everybody else the request is under way
            await asyncio.sleep(delay_s)
        answer = Agent.default.llm_node(self, chat_ctx, tools, model_settings)
        if trace is not None and handle is not None:
            self._degradation.watch(trace, handle)
            answer = self._acknowledgements.before(answer, trace, handle, self._user_texts.get(trace.id, ""))
        async for chunk in answer:
            yield chunk

    async def tts_node(self, text: AsyncIterable[str], model_settings: ModelSettings) -> AsyncIterable[rtc.AudioFrame]:
        trace = self._adopt_trace()
        handle = current_speech()
        if trace is not None and handle is not None and not handle.scheduled and when_scheduled(handle, trace.release):
            trace.hold()  # a reply that is thrown away would cost half a second of processor time, which the STT needs
        follow = self._speech.synthesised(handle.id) if handle is not None else _ignore
        filler = self._acknowledgements.sound_of(handle.id) if handle is not None else None
        if filler is not None:
            for frame in filler.frames():
                follow(frame)
                yield frame
            follow(None)
            return
        first = True
        async for frame in Agent.default.tts_node(self, text, model_settings):
            follow(frame)
            if first and trace is not None:
                first = False
                self._reply_came(trace)
            yield frame
        follow(None)

    def _reply_came(self, trace: generation_trace.GenerationTrace) -> None:
        """A reply has its first audio."""
        user_text = self._user_texts.pop(trace.id, "")
        trace.mark("tts_first_audio")
        if (soonest_s := self._degradation.reply_came(trace)) is not None:
            self._detectors.expect_reply_after(soonest_s)
        if user_text:
            self._detectors.reply_ready(user_text)

    def _adopt_trace(self) -> generation_trace.GenerationTrace | None:
        """The trace of the generation that this task belongs to, adopted by the task; None outside of one."""
        handle = current_speech()
        if handle is None:
            return None
        trace = self._ledger.generation(handle.id)
        generation_trace.adopt(trace)
        return trace


def _ignore(frame: rtc.AudioFrame | None) -> None:
    pass


__all__ = ["VoiceAgent"]
