"""The ledger held to the recording: voice to voice read off the samples of both tracks."""

from __future__ import annotations

import numpy as np

from ...audio.resampling import resample
from ...audio.speech_end import SpeechEnd
from ...audio.timeline import AUDIBLE, RECORD_RATE, USER_RATE, Timeline
from ...budget.ledger import Turn
from .speech_bounds import WINDOW, window_probabilities


def difference_ms(timeline: Timeline, turn: Turn) -> float | None:
    """By how much the ledger's voice to voice differs from the samples', in milliseconds; None if they do not tell."""
    if turn.speech_ended_s is None or turn.first_audible_s is None:
        return None
    heard = turn.first_audible_s
    if turn.acknowledged_ms is not None:  # "Let me see.": the samples show that first
        heard = min(heard, turn.speech_ended_s + turn.acknowledged_ms / 1000)
    seen = voice_to_voice_s(timeline, turn.speech_ended_s, heard)
    return None if seen is None else abs(seen - (heard - turn.speech_ended_s)) * 1000


def voice_to_voice_s(timeline: Timeline, near_end_s: float, near_audible_s: float) -> float | None:
    """Voice to voice in seconds by the two tracks alone, for the turn near the given places; None for silence."""
    lo = max(0.0, near_end_s - 3.0)
    lo -= lo % (WINDOW / USER_RATE)
    user = resample(
        timeline.user.read(round(lo * RECORD_RATE), round((near_audible_s + 0.5) * RECORD_RATE)), RECORD_RATE, USER_RATE
    )
    speech_end = SpeechEnd()
    for at, probability in window_probabilities(user):
        speech_end.window(at, probability)
    end = lo + speech_end.refined()
    start = max(0, round((near_end_s - 0.2) * RECORD_RATE))
    agent = timeline.agent.read(start, round((near_audible_s + 1.0) * RECORD_RATE))
    loud = np.flatnonzero(np.abs(agent.astype(np.int32)) > AUDIBLE)
    if not len(loud):
        return None
    return (start + int(loud[0])) / RECORD_RATE - end
