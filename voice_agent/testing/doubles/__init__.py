"""Test voice agents without models and without waiting: yours, or this project's (docs/testing.md).

:func:`run` gives a test virtual time: ten minutes of conversation with a whole ``AgentSession`` take seconds, and the
ledger is the same to the last byte on every run. :func:`conversation` is a conversation that a test drives.
:class:`ScriptedSTT`, :class:`ScriptedVAD`, :class:`ScriptedLLM`, :class:`ScriptedTTS`, :class:`ScriptedInput` and
:class:`ScriptedOutput` stand in for the stages of any ``AgentSession``; each has ``verify()``, which raises
:class:`ScriptError` for what was not expected and for what was left over.

Read :mod:`.synthetic_speech` first (how a doubled STT hears), then :mod:`.loop` and :mod:`.world` (time), :mod:`.stt`,
:mod:`.llm`, :mod:`.tts`, :mod:`.scripted_io` (the doubles), :mod:`.scripted_stages` (all of them for this project's
pipeline), :mod:`.conversation`, :mod:`.scenarios`.
"""

from .conversation import Conversation, Doubles, conversation
from .deviations import ScriptError
from .llm import Reply, ScriptedLLM, ScriptedProvider
from .loop import VirtualClock, VirtualLoop, VirtualTimeError, spend
from .scripted_io import ScriptedInput, ScriptedOutput
from .scripted_stages import ScriptedStages, deterministic
from .stt import ScriptedEngine, ScriptedSTT, ScriptedVAD
from .synthetic_speech import Spoken, spoken, text_in
from .tts import ScriptedTTS
from .world import livekit_sees, run

__all__ = [
    "Conversation",
    "Doubles",
    "Reply",
    "ScriptError",
    "ScriptedEngine",
    "ScriptedInput",
    "ScriptedLLM",
    "ScriptedOutput",
    "ScriptedProvider",
    "ScriptedSTT",
    "ScriptedStages",
    "ScriptedTTS",
    "ScriptedVAD",
    "Spoken",
    "VirtualClock",
    "VirtualLoop",
    "VirtualTimeError",
    "conversation",
    "deterministic",
    "livekit_sees",
    "run",
    "spend",
    "spoken",
    "text_in",
]
