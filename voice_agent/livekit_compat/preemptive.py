"""A provisional reply is kept where the last word got another ending ("unidentified call", then "calls").

LiveKit adopts a provisional reply if its transcript and the final one have the same words (1.8.9: agent_activity,
``_transcripts_equivalent``; it then writes the final one into the history). Which other transcripts a reply serves as
well, the turn policy knows (turn/policy.py, ``EndOfTurn.kept_for``); LiveKit has no seam to be told, so its test
is asked
first and ours after it. Only pairs that a policy has let pass are accepted, so other sessions see no difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import wraps

from livekit.agents.voice import agent_activity

from ..turn.policy import words_of

_kept: deque[tuple[str, str]] = deque(maxlen=64)


def keep(asked: str, heard: str) -> None:
    """From now on a reply that was asked for on ``asked`` answers ``heard`` too."""
    _kept.append((words_of(asked), words_of(heard)))


def _with_kept(equivalent: Callable[[str, str | None], bool]) -> Callable[[str, str | None], bool]:
    @wraps(equivalent)
    def either(first: str, second: str | None) -> bool:
        return equivalent(first, second) or (second is not None and (words_of(first), words_of(second)) in _kept)

    return either


setattr(agent_activity, "_transcripts_equivalent", _with_kept(agent_activity._transcripts_equivalent))  # noqa: B010
