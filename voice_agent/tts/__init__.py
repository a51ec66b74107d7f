"""The mouth: text that is still being written -> speech, on a local Piper voice.

Read ``text`` (when is there enough to say?), ``spoken`` (how is it said?), ``graph`` and ``vits`` (how does a voice
start before it has finished?), ``trimmer`` (which silences stay?), then ``stream``, which makes a LiveKit TTS of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .chunker import Chunk, Chunker, Limits
from .normalize import speakable

if TYPE_CHECKING:
    from .stream import DEFAULT_VOICE, PiperTTS
    from .vits import AudioChunk, Delivery, Stop, Voice
else:
    from ..runtime.lazy_imports import lazy_names

    __getattr__ = lazy_names(
        __name__, {"stream": ("DEFAULT_VOICE", "PiperTTS"), "vits": ("AudioChunk", "Delivery", "Stop", "Voice")}
    )

__all__ = [
    "DEFAULT_VOICE",
    "AudioChunk",
    "Chunk",
    "Chunker",
    "Delivery",
    "Limits",
    "PiperTTS",
    "Stop",
    "Voice",
    "speakable",
]
