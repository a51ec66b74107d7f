"""Base classes of the streams that the stages give LiveKit: what a plugin reads and writes, by public names.

LiveKit's plugins use these underscored attributes as well (livekit-agents 1.8.9), but no documentation promises them.
The methods that a plugin overrides (``_run``, ``_recognize_impl``, ``_main_task``) keep LiveKit's names.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from livekit import rtc
from livekit.agents import llm, stt, tts, vad

from .symbols import Symbol

log = logging.getLogger("voice_agent")


def _needed(module: str, name: str, lost: str) -> Symbol:
    return Symbol("livekit-agents", f"livekit.agents.{module}", name, lost, required=True, set_in="__init__")


STT_INPUT = _needed("stt", "RecognizeStream._input_ch", "no audio reaches the STT")
STT_EVENTS = _needed("stt", "RecognizeStream._event_ch", "no transcript reaches the session")
STT_ERROR = Symbol("livekit-agents", "livekit.agents.stt", "RecognizeStream._emit_error", "STT errors are only logged")
LLM_EVENTS = _needed("llm", "LLMStream._event_ch", "no answer reaches the session")
TTS_INPUT = _needed("tts", "SynthesizeStream._input_ch", "no text reaches the TTS")
TTS_TEXT = _needed("tts", "SynthesizeStream._pushed_text", "a reply without words cannot be told from one with words")
TTS_STARTED = Symbol(
    "livekit-agents", "livekit.agents.tts", "SynthesizeStream._mark_started", "LiveKit's own TTS metrics have no start"
)
VAD_INPUT = _needed("vad", "VADStream._input_ch", "no audio reaches the VAD")
VAD_EVENTS = _needed("vad", "VADStream._event_ch", "the session is not told of speech")


class SttStream(stt.RecognizeStream):
    """Override ``_run``: read :attr:`received` to its end."""

    @property
    def received(self) -> AsyncIterator[object]:
        """Audio frames (``rtc.AudioFrame``), and marks of another type where the input was flushed."""
        return self._input_ch

    @property
    def closed(self) -> bool:
        """Nothing can be emitted any more."""
        return self._event_ch.closed

    def emit(self, event: stt.SpeechEvent) -> None:
        """Give the session an event."""
        self._event_ch.send_nowait(event)

    def report(self, error: Exception) -> None:
        """Tell the session of an error that the stream survives."""
        if STT_ERROR.find() is None:
            log.error("speech recognition failed", exc_info=error)
        else:
            self._emit_error(error, recoverable=True)


class LlmStream(llm.LLMStream):
    """Override ``_run``."""

    def emit(self, chunk: llm.ChatChunk) -> None:
        """Give the session a piece of the answer."""
        self._event_ch.send_nowait(chunk)


class TtsStream(tts.SynthesizeStream):
    """Override ``_run``: read :attr:`received` to its end."""

    @property
    def received(self) -> AsyncIterator[object]:
        """Pieces of text (``str``), and marks of another type where the text was flushed."""
        return self._input_ch

    @property
    def pushed_text(self) -> str:
        """All text so far."""
        return self._pushed_text

    def mark_started(self) -> None:
        """Synthesis begins now (for LiveKit's own metrics)."""
        if TTS_STARTED.find() is not None:
            self._mark_started()


class VadStream(vad.VADStream):
    """Override ``_main_task``: read :attr:`received` to its end. ``owner``: the VAD that made it."""

    def __init__(self, owner: vad.VAD) -> None:
        super().__init__(owner)
        self.owner = owner

    @property
    def received(self) -> AsyncIterator[rtc.AudioFrame | object]:
        """Audio frames, and marks of another type where the input was flushed."""
        return self._input_ch

    def emit(self, event: vad.VADEvent) -> None:
        """Give the session an event."""
        self._event_ch.send_nowait(event)
