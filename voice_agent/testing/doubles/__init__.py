"""Test voice agents without models and without waiting: yours, or this project's (docs/testing.md).

:func:`run` gives a test virtual time: ten minutes of conversation with a whole ``AgentSession`` take seconds, and the
ledger is the same to the last byte on every run. :func:`conversation` is a conversation to be driven from a test.
:class:`ScriptedSTT`, :class:`ScriptedVAD`, :class:`ScriptedLLM`, :class:`ScriptedTTS`, :class:`ScriptedInput` and
:class:`ScriptedOutput` stand in for the stages of any ``AgentSession``; each has ``verify()``, which raises
:class:`ScriptError` for what was not expected and for what was left over.

Read :mod:`.sound` first (how doubles hear), then :mod:`.loop` and :mod:`.world` (time), :mod:`.ears`, :mod:`.mind`,
:mod:`.mouth`, :mod:`.ends` (the doubles), :mod:`.conversation`.
"""

from .conversation import Conversation, Doubles, conversation
from .ends import ScriptedInput, ScriptedOutput
from .llm import Reply, ScriptedLLM, ScriptedProvider
from .loop import VirtualClock, VirtualLoop, VirtualTimeError, spend
from .parts import ScriptedParts, deterministic
from .steps import ScriptError
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
    "ScriptedParts",
    "ScriptedProvider",
    "ScriptedSTT",
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
