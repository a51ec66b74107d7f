from __future__ import annotations

import pytest

from voice_agent.config import RoomConfig
from voice_agent.room import audio_input


@pytest.mark.parametrize(
    ("suppressed", "many_calls", "frame_ms"),
    [(False, False, 32), (False, True, 64), (True, False, 10), (True, True, 10)],
)
def test_a_frame_is_a_window_of_the_vad_or_two_with_many_calls(
    suppressed: bool, many_calls: bool, frame_ms: int
) -> None:
    options = audio_input.options(RoomConfig(noise_suppression=suppressed), many_calls=many_calls)
    assert (options.frame_size_ms, options.sample_rate) == (frame_ms, 16_000)
