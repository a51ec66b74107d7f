"""The default agent: LiveKit's, with a trace around each generation so that the ledger knows which one was played."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import Any

from livekit import rtc
from livekit.agents import Agent, FlushSentinel, ModelSettings, llm

from .. import trace as probe
from ..budget.attach import SessionLedger
from ..config import DebugConfig
from ..livekit_compat.speech import current_speech, when_scheduled
from ..testing.harness.faults import Faults
from .degradation import Degradation


class VoiceAgent(Agent):
    """``instructions`` and tools as LiveKit's Agent takes them.

    ``on_reply_ready(user_text)``: the reply to that text has its first audio (it may be provisional).
    ``degradation``: what is done when a turn is late. ``on_pace(seconds)``: no reply is ready sooner after its request.
    ``on_sound(speech_id)``: that speech is being synthesised; what it returns is given each frame, and None at the end.
    """

    def __init__(
        self,
        *,
        ledger: Callable[[], SessionLedger],
        on_reply_ready: Callable[[str], None],
        on_sound: Callable[[str], Callable[[rtc.AudioFrame | None], None]] = lambda _: lambda _: None,
        faults: Faults | None = None,
        degradation: Degradation | None = None,
        on_pace: Callable[[float], None] = lambda _: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._ledger = ledger
        self._on_reply_ready = on_reply_ready
        self._on_sound = on_sound
        self._asked_on: dict[str, str] = {}
        self._faults = faults or Faults(DebugConfig())
        self._degradation = degradation
        self._on_pace = on_pace

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[llm.Tool], model_settings: ModelSettings
    ) -> AsyncIterable[llm.ChatChunk | str | FlushSentinel]:
        trace = self._adopt()
        if trace is not None:
            last = next((m for m in reversed(chat_ctx.items) if m.type == "message" and m.role == "user"), None)
            self._asked_on = {**self._asked_on, trace.id: (last.text_content or "") if last is not None else ""}
        handle = current_speech()
        if trace is not None and self._faults.of("llm"):
            trace.mark("llm_requested")  # the request has been made, as far as anybody else can tell
            await self._faults.pause("llm")
        answer = Agent.default.llm_node(self, chat_ctx, tools, model_settings)
        if self._degradation is not None and trace is not None and handle is not None:
            self._degradation.watch(trace, handle)
            answer = self._degradation.acknowledged(answer, trace, handle, self._asked_on.get(trace.id, ""))
        async for chunk in answer:
            yield chunk

    async def tts_node(self, text: AsyncIterable[str], model_settings: ModelSettings) -> AsyncIterable[rtc.AudioFrame]:
        trace = self._adopt()
        first = True
        handle = current_speech()
        if trace is not None and handle is not None and not handle.scheduled and when_scheduled(handle, trace.release):
            trace.hold()  # half a second of processor time a thrown-away reply, just when the ears need it
        heard = self._on_sound(handle.id) if handle is not None else None
        ahead = self._degradation.sound_of(handle.id) if self._degradation is not None and handle is not None else None
        if ahead is not None:
            for frame in ahead.frames():
                if heard is not None:
                    heard(frame)
                yield frame
            if heard is not None:
                heard(None)
            return
        async for frame in Agent.default.tts_node(self, text, model_settings):
            if heard is not None:
                heard(frame)
            if first and trace is not None:
                first = False
                asked_on = self._asked_on.pop(trace.id, "")
                trace.mark("tts_first_audio")
                if self._degradation is not None and (soonest_s := self._degradation.reply_came(trace)) is not None:
                    self._on_pace(soonest_s)
                if asked_on:
                    self._on_reply_ready(asked_on)
            yield frame
        if heard is not None:
            heard(None)

    def _adopt(self) -> probe.GenerationTrace | None:
        handle = current_speech()
        if handle is None:
            return None
        trace = self._ledger().generation(handle.id)
        probe.adopt(trace)
        return trace
