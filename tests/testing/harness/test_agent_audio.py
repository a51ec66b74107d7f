"""What a caller hears of the agent: the places where its sound broke off, and its side of the recording."""

from __future__ import annotations

import numpy as np
import pytest

from voice_agent.testing.harness.agent_audio import FRAME, RATE, AgentAudio, loud_ends


def test_the_times_of_a_long_piece_are_those_of_its_10_ms_steps() -> None:
    pcm = np.zeros(5 * FRAME, np.int16)
    pcm[FRAME + 3] = 1000
    pcm[4 * FRAME :] = -1000
    assert loud_ends(pcm, 2.0) == pytest.approx([1.97, 2.0])
    assert loud_ends(np.full(FRAME, 200, np.int16), 2.0) == []


def test_a_hole_in_what_arrives_is_counted_from_the_beginning_of_the_next_piece() -> None:
    heard = AgentAudio()
    loud = np.full(5 * FRAME, 1000, np.int16)
    for end_s in (1.05, 1.10, 1.23, 1.28):
        heard.add(end_s, loud)
    (gap,) = heard.gaps()
    assert (gap.at_s, gap.length_s) == pytest.approx((1.10, 0.08))


def test_sound_that_came_late_and_caught_up_was_not_away() -> None:
    heard = AgentAudio()
    loud = np.full(RATE // 20, 5000, np.int16)
    for end_s in (1.05, 1.10, 1.23, 1.235, 1.25, 1.30):
        heard.add(end_s, loud)
    assert heard.gaps() == []


def test_silence_in_the_middle_of_a_word_is_a_gap_a_pause_is_none() -> None:
    heard = AgentAudio()
    word, silence = np.full(RATE // 10, 5000, np.int16), np.zeros(RATE // 10, np.int16)
    fading_out = np.linspace(5000, 0, RATE // 10).astype(np.int16)
    fading_out[-RATE // 20 :] = 40  # a voice's own pause is never this quiet for long
    breath = np.full(RATE // 10, 40, np.int16)
    for i, pcm in enumerate((word, silence, word, fading_out, breath, silence, word, silence)):
        heard.add(1.0 + 0.1 * (i + 1), pcm)
    (gap,) = heard.gaps()  # neither the one behind the breath nor the end of the reply
    assert (gap.at_s, gap.length_s) == pytest.approx((1.1, 0.1))


def test_audible_counts_from_where_one_listens() -> None:
    heard = AgentAudio()
    loud = np.full(FRAME, 1000, np.int16)
    heard.add(1.0, loud)
    assert heard.first_heard_s == pytest.approx(1.0)
    heard.listen_from(1.5)
    heard.add(1.4, loud)  # arrived before
    assert heard.first_heard_s is None
    heard.add(1.6, loud)
    assert heard.first_heard_s == pytest.approx(1.6)
    assert heard.last_heard_s == pytest.approx(1.6)
    assert heard.heard_between(1.5, 1.6)
    assert not heard.heard_between(1.6, 2.0)


def test_the_agents_side_of_the_recording_has_each_frame_where_it_arrived() -> None:
    heard = AgentAudio()
    heard.add(0.02, np.full(160, 7, np.int16))
    heard.add(0.035, np.full(160, 9, np.int16))
    track = heard.track(640)
    assert track[:160].tolist() == [0] * 160
    assert track[160:320].tolist() == [7] * 160
    assert track[400:560].tolist() == [9] * 160
