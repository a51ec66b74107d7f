"""A real-time voice agent: speech comes in, passes STT, turn detector, LLM and TTS, and leaves as speech; a ledger
records where each millisecond of a turn went.

The public API: :func:`load` and :class:`Config` (settings), ``voice_agent.pipeline.session.open_session`` (a session
ready to start), and ``voice_agent.testing`` (latency tests of any agent). Each of ``stt``, ``turn``, ``llm``, ``tts``
and ``budget`` also works alone inside any LiveKit ``AgentSession``.

Read the packages in the order of the data flow (docs/architecture.md has the picture):

1. :mod:`~voice_agent.errors`, :mod:`~voice_agent.config`: errors and settings.
2. :mod:`~voice_agent.microphone`: audio devices, one of the ends where audio comes in and goes out.
3. :mod:`~voice_agent.stt`: speech-to-text while the user speaks.
4. :mod:`~voice_agent.turn`: has the user finished? Is it an interruption? Pure policies, and models beside them.
5. :mod:`~voice_agent.llm`: the language model behind the OpenAI-compatible API.
6. :mod:`~voice_agent.tts`: text-to-speech from the first clause on.
7. :mod:`~voice_agent.budget`: the ledger.
8. :mod:`~voice_agent.pipeline`: wires all of it. :mod:`~voice_agent.cli`: the commands.

Importing this package loads no model and nothing heavy.
"""

from __future__ import annotations

from .config import Config, load
from .errors import VoiceAgentError

__all__ = ["Config", "VoiceAgentError", "__version__", "load"]

__version__ = "0.1.0"
