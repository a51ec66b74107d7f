"""Text-to-speech: text that is still being written -> speech, on a local Piper voice.

Read :mod:`.chunker` (when is there enough text to speak?), :mod:`.normalize` (how is it read out?), :mod:`.vits`,
:mod:`.vits_split` and :mod:`.vits_windows` (how does audio start before the sentence is computed?), :mod:`.trim` (which
silences stay?), :mod:`.reply_speech` (the loop over a reply's chunks), then :mod:`.piper_tts`, the LiveKit TTS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .chunker import Chunk, Chunker, ChunkLimits
from .normalize import speakable

if TYPE_CHECKING:
    from .piper_tts import DEFAULT_VOICE, PiperTTS
    from .reply_speech import TimedChunk
    from .synthesizer import AudioChunk, Delivery, Stop, Synthesizer
    from .vits import Voice
    from .vits_windows import LOW_LATENCY_FRAMES, UNDER_LOAD_FRAMES
else:
    from ..runtime.lazy_imports import lazy_names

    __getattr__ = lazy_names(
        __name__,
        {
            "reply_speech": ("TimedChunk",),
            "piper_tts": ("DEFAULT_VOICE", "PiperTTS"),
            "synthesizer": ("AudioChunk", "Delivery", "Stop", "Synthesizer"),
            "vits": ("Voice",),
            "vits_windows": ("LOW_LATENCY_FRAMES", "UNDER_LOAD_FRAMES"),
        },
    )

__all__ = [
    "DEFAULT_VOICE",
    "LOW_LATENCY_FRAMES",
    "UNDER_LOAD_FRAMES",
    "AudioChunk",
    "Chunk",
    "ChunkLimits",
    "Chunker",
    "Delivery",
    "PiperTTS",
    "Stop",
    "Synthesizer",
    "TimedChunk",
    "Voice",
    "speakable",
]
