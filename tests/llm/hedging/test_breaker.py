from __future__ import annotations

from voice_agent.config import DegradationConfig
from voice_agent.llm.hedging.breaker import Breaker


def breaker() -> Breaker:
    return Breaker.of(DegradationConfig(breaker_failures=3, breaker_open_s=10))


def failed(b: Breaker, *at: float) -> None:
    for now in at:
        b.ask(now)
        b.failed(now)


def test_failures_in_a_row_open_it_and_an_answer_between_them_does_not() -> None:
    b = breaker()
    failed(b, 1, 2)
    b.succeeded()
    failed(b, 3, 4)
    assert b.state(4) == "closed"
    failed(b, 5)
    assert b.state(5) == "open"
    assert b.rest_s(9) == 6


def test_one_request_tries_it_and_its_end_decides() -> None:
    b = breaker()
    failed(b, 1, 2, 3)
    assert b.state(12.9) == "open"
    assert b.ask(13) == "half open"
    assert b.ask(13.1) == "open"  # one at a time
    b.failed(14)
    assert b.state(33.9) == "open"
    assert b.ask(34) == "half open"
    b.succeeded()
    assert b.state(34) == "closed"
    failed(b, 35, 36)
    assert b.state(36) == "closed"  # it counts from the start again


def waits(b: Breaker, trials: int) -> list[float]:
    """Seconds between trials in vain."""
    failed(b, 0, 0, 0)
    now, out = 0.0, []
    for _ in range(trials):
        out.append(b.rest_s(now))
        now += out[-1]
        assert b.ask(now) == "half open"
        b.failed(now)
    return out


def test_failed_trials_back_off_up_to_a_limit_if_there_is_a_second_provider() -> None:
    assert waits(breaker(), 6) == [10, 20, 40, 80, 80, 80]
    assert waits(Breaker.of(DegradationConfig(breaker_open_s=200)), 3) == [200, 200, 200]
    assert waits(Breaker.of(DegradationConfig(), backs_off=False), 3) == [10, 10, 10]


def test_after_an_answered_trial_one_failure_opens_it_for_as_long_as_before_and_an_answer_makes_all_good() -> None:
    b = breaker()
    waits(b, 2)
    b.ask(1000)
    b.came_back()
    assert b.state(1000) == "closed"
    b.failed(1001)
    assert b.rest_s(1001) == 40
    b.ask(1100)
    b.came_back()
    b.succeeded()
    failed(b, 1101, 1102)
    assert b.state(1102) == "closed"
    b.failed(1103)
    assert b.rest_s(1103) == 10


def test_a_trial_that_nobody_waited_for_leaves_it_to_the_next() -> None:
    b = breaker()
    failed(b, 1, 2, 3)
    assert b.ask(13) == "half open"
    b.abandoned()
    assert b.ask(13.5) == "half open"
