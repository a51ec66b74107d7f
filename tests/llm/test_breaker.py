from __future__ import annotations

from voice_agent.config import LadderConfig
from voice_agent.llm.breaker import Breaker


def breaker() -> Breaker:
    return Breaker.of(LadderConfig(breaker_failures=3, breaker_open_s=10))


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
    assert b.state(23.9) == "open"
    assert b.ask(24) == "half open"
    b.succeeded()
    assert b.state(24) == "closed"
    failed(b, 25, 26)
    assert b.state(26) == "closed"  # it counts from the start again


def test_a_trial_that_nobody_waited_for_leaves_it_to_the_next() -> None:
    b = breaker()
    failed(b, 1, 2, 3)
    assert b.ask(13) == "half open"
    b.abandoned()
    assert b.ask(13.5) == "half open"
