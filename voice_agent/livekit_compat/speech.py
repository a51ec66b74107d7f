"""Which speech a generation is for, and when LiveKit schedules it to be played.

LiveKit binds the handle of a speech to the tasks that make it. No public name leads from ``Agent.llm_node`` and
``Agent.tts_node`` to it (livekit-agents 1.8.9); without it a provisional generation cannot be told from the played one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

from livekit.agents.voice import SpeechHandle

from .symbols import Symbol

CURRENT_SPEECH = Symbol(
    "livekit-agents",
    "livekit.agents.voice.agent_activity",
    "_SpeechHandleContextVar",
    "the ledger cannot tell which generation was played, and no acknowledgement is said",
)
SCHEDULED = Symbol(
    "livekit-agents",
    "livekit.agents.voice.speech_handle",
    "SpeechHandle._scheduled_fut",
    "a provisional reply is synthesised in full before it is known to be played",
    set_in="__init__",
)


def current_speech() -> SpeechHandle | None:
    """The speech that the running task makes; None outside of one."""
    variable = CURRENT_SPEECH.find()
    return None if variable is None else cast("SpeechHandle | None", variable.get(None))


@contextlib.contextmanager
def speech_made(handle: SpeechHandle) -> Iterator[None]:
    """As long as this is open, ``handle`` is the :func:`current_speech` of this task (for tests)."""
    variable = CURRENT_SPEECH.find()
    token = variable.set(handle)
    try:
        yield
    finally:
        variable.reset(token)


def when_scheduled(handle: SpeechHandle, callback: Callable[[], None]) -> bool:
    """Call ``callback`` once when ``handle`` is scheduled to be played; never if it is thrown away.

    A done-callback and no task: most provisional speeches are never scheduled, and a task that waits for one would be
    destroyed while it waits. Returns whether the moment can be known: False means that the callback will not be called.
    """
    scheduled = getattr(handle, "_scheduled_fut", None)
    if scheduled is None:
        SCHEDULED.missing()
        return False
    scheduled.add_done_callback(lambda _: callback())
    return True
