from __future__ import annotations

import pytest

from voice_agent.config import RoomConfig
from voice_agent.room import audio_input as ears


@pytest.mark.parametrize(
    ("suppressed", "crowded", "frame_ms"), [(False, False, 32), (False, True, 64), (True, False, 10), (True, True, 10)]
)
def test_frames_are_windows_of_the_vad_two_at_once_where_many_calls_run(
    suppressed: bool, crowded: bool, frame_ms: int
) -> None:
    options = ears.options(RoomConfig(noise_suppression=suppressed), crowded=crowded)
    assert (options.frame_size_ms, options.sample_rate) == (frame_ms, 16_000)
