"""Several turn detectors of one session are told the same, and get the settings that fit the load."""

from __future__ import annotations

import numpy as np

from voice_agent.config import Config, RoomConfig, TurnConfig
from voice_agent.pipeline.turn_detectors import TurnDetectors
from voice_agent.turn import AgentSound, RuleEndOfTurnModel, TurnDetector
from voice_agent.turn.barge_in_policy import BargeInDecision, Pause

CONFIG = Config(turn=TurnConfig(max_early_preflights=3), room=RoomConfig(many_calls_early_preflights=1))


class Load:
    many_calls = False


def detectors_of(load: Load, config: Config = CONFIG) -> TurnDetectors:
    return TurnDetectors(
        config, RuleEndOfTurnModel(), under_load=lambda: load.many_calls, agent=lambda: AgentSound("Hello.", 5.0)
    )


def made(detectors: TurnDetectors) -> TurnDetector:
    detector = detectors.make()
    assert isinstance(detector, TurnDetector)
    return detector


async def test_a_new_detector_fits_the_load_and_the_next_turn_fits_it_anew() -> None:
    load = Load()
    detectors = detectors_of(load)
    first = made(detectors)
    load.many_calls = True
    second = made(detectors)
    assert [d.policy.config.max_early_preflights for d in (first, second)] == [3, 1]
    assert detectors.turn_committed() is None
    assert [d.policy.config.max_early_preflights for d in (first, second)] == [1, 1]
    load.many_calls = False
    detectors.turn_committed()
    assert [d.policy.config.max_early_preflights for d in (first, second)] == [3, 3]


async def test_all_detectors_know_the_models_pace() -> None:
    detectors = detectors_of(Load())
    both = made(detectors), made(detectors)
    detectors.expect_reply_after(0.4)
    assert [d.policy.reply_takes_s for d in both] == [0.4, 0.4]


async def test_a_pause_of_the_user_is_seen_in_any_detector() -> None:
    detectors = detectors_of(Load())
    made(detectors)
    second = made(detectors)
    assert not detectors.user_paused()
    window = np.zeros(512, np.int16)
    for number in range(1, 11):
        second.window(0.032 * number, 0.99, window)
    assert not detectors.user_paused()
    second.window(0.032 * 11, 0.01, window)
    assert detectors.user_paused()


async def test_a_barge_in_decision_reaches_whoever_listens_at_that_time() -> None:
    detectors = detectors_of(Load())
    detector = made(detectors)
    decided: list[BargeInDecision] = []
    detectors.on_barge_in = decided.append  # after the detector was made, as in a session
    detectors.agent_began()
    window = np.full(512, 8000, np.int16)
    for number in range(1, 40):
        detector.window(0.032 * number, 0.99, window)
    assert any(isinstance(decision, Pause) for decision in decided)
