"""A real-time voice agent: sound comes in, travels one short road, and leaves as sound; a ledger walks beside it.

Read the package in the order in which the sound travels:

1. :mod:`~voice_agent.errors` and :mod:`~voice_agent.config`: what can go wrong, and what can be set.
2. :mod:`~voice_agent.microphone`: the ends of the road, where sound comes in and goes out.
3. :mod:`~voice_agent.stt`: the ears, speech to text while the user still speaks.
4. :mod:`~voice_agent.turn`: has the user finished? Numbers in, events out, no I/O.
5. :mod:`~voice_agent.llm`: the mind, a language model behind the OpenAI-compatible API.
6. :mod:`~voice_agent.tts`: the mouth, text to speech from the first clause on.
7. :mod:`~voice_agent.budget`: the ledger, where each millisecond went.
8. ``session``: the one place where the road is wired, and ``cli``: the commands.

Each of stt, turn, llm, tts and budget works alone inside any LiveKit ``AgentSession``. Importing this package loads
no model and nothing heavy.
"""

from __future__ import annotations

from .config import Config, load
from .errors import VoiceAgentError

__all__ = ["Config", "VoiceAgentError", "__version__", "load"]

__version__ = "0.1.0"
