from __future__ import annotations

import numpy as np

from voice_agent.audio.samples import Int16
from voice_agent.turn.energy import EnergyDrop


def tone(level: float) -> Int16:
    pcm: Int16 = (level * np.sin(np.arange(512) * 0.3)).astype(np.int16)
    return pcm


def test_speech_far_below_the_loudest_is_a_drop() -> None:
    energy_drop = EnergyDrop(below_db=12.0)
    assert not energy_drop.window(tone(8000), True)
    assert not energy_drop.window(tone(3000), True)  # 8.5 dB
    assert energy_drop.window(tone(1500), True)  # 14.5 dB


def test_silence_is_no_drop() -> None:
    energy_drop = EnergyDrop(below_db=12.0)
    energy_drop.window(tone(8000), True)
    assert not energy_drop.window(tone(0), False)


def test_a_speaker_who_turns_away_is_not_below_for_ever() -> None:
    energy_drop = EnergyDrop(below_db=12.0)
    energy_drop.window(tone(8000), True)
    seen = [energy_drop.window(tone(1500), True) for _ in range(200)]
    assert seen[0]
    assert not seen[-1]


def test_a_loud_noise_that_is_no_speech_does_not_count() -> None:
    energy_drop = EnergyDrop(below_db=12.0)
    energy_drop.window(tone(20000), False)
    assert not energy_drop.window(tone(1500), True)
