from __future__ import annotations

from collections.abc import Callable

import pytest

from voice_agent.budget import Mark, Turn
from voice_agent.budget.stage_times import StageTimes, stage_times

MakeTurn = Callable[..., Turn]
MARKS_MS = {
    Mark.SPEECH_ENDED: 0.0,
    Mark.LLM_REQUESTED: 70.0,
    Mark.LLM_FIRST_CONTENT: 240.0,
    Mark.CHUNK_READY: 245.0,
    Mark.TTS_FIRST_AUDIO: 290.0,
    Mark.TURN_COMMITTED: 200.0,
    Mark.FIRST_AUDIBLE: 300.0,
}


def test_the_times_of_a_turn(make_turn: MakeTurn) -> None:
    times = stage_times(make_turn(MARKS_MS))
    assert (times.llm_s, times.voice_s, times.tts_s) == pytest.approx((0.170, 0.050, 0.045))
    assert times.output_s == pytest.approx(0.010)  # after the first audio, which came last
    assert (times.requested_s, times.committed_s) == pytest.approx((0.070, 0.200))


def test_unknown_times_are_the_defaults(make_turn: MakeTurn) -> None:
    assert stage_times(make_turn({})) == StageTimes()
    reversed_marks = {**MARKS_MS, Mark.LLM_FIRST_CONTENT: 60.0}  # content before its request
    assert stage_times(make_turn(reversed_marks)).llm_s == StageTimes().llm_s
