"""A real-time voice agent: sound comes in, passes one short pipeline, and leaves as sound; a ledger times every step.

Read the package in the order in which the sound passes it:

1. :mod:`~voice_agent.errors` and :mod:`~voice_agent.config`: what can fail, and all settings.
2. :mod:`~voice_agent.microphone`, :mod:`~voice_agent.room`: the ends, where sound comes in and goes out.
3. :mod:`~voice_agent.stt`: speech-to-text, while the user still speaks.
4. :mod:`~voice_agent.turn`: has the user finished? Numbers in, events out, no I/O in the policy.
5. :mod:`~voice_agent.llm`: a language model behind the OpenAI-compatible API.
6. :mod:`~voice_agent.tts`: text-to-speech, from the first clause on.
7. :mod:`~voice_agent.budget`: the ledger, which says where each millisecond went.
8. :mod:`~voice_agent.pipeline`: the one place where a session is wired; ``cli`` and ``commands``: the verbs.

Each of stt, turn, llm, tts and budget works alone inside any LiveKit ``AgentSession``. Importing this package loads
no model and nothing heavy; only what needs them imports Whisper, Piper and llama.cpp (``pip install
'voice-agent[local]'``).
"""

from __future__ import annotations

from .config import Config, load
from .errors import VoiceAgentError

__all__ = ["Config", "VoiceAgentError", "__version__", "load"]

__version__ = "0.1.0"
