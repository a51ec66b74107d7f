"""Expectations: each holds where it should, fails where it should, and says which it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.budget.ledger import Failure, Mark, Speculation, Turn, TurnBuilder
from voice_agent.testing.scenario.expect import Check, Facts, check_turn, check_whole, word_error_rate
from voice_agent.testing.scenario.expect_schema import TurnExpect, WholeExpect


def row(total_ms: float = 400.0, *, item: str = "1 a", **more: Any) -> Turn:
    builder = TurnBuilder(1, item=item)
    parts = {
        Mark.SPEECH_ENDED: 0.0,
        Mark.TRANSCRIPT_READY: 50.0,
        Mark.LLM_REQUESTED: 60.0,
        Mark.LLM_FIRST_CONTENT: 230.0,
        Mark.CHUNK_READY: 235.0,
        Mark.TTS_FIRST_AUDIO: 300.0,
        Mark.TURN_COMMITTED: 390.0,
        Mark.FIRST_AUDIBLE: total_ms,
    }
    for mark, ms in parts.items():
        builder.mark(mark, 10.0 + ms / 1000)
    for name, value in more.items():
        setattr(builder, name, value)
    return builder.build()


def expect(**fields: Any) -> TurnExpect:
    return TurnExpect.model_validate(fields)


def verdict(wanted: TurnExpect, facts: Facts, *, wants_answer: bool = True) -> dict[str, bool | None]:
    return {check.what: check.ok for check in check_turn(wanted, facts, wants_answer=wants_answer)}


def facts(turn: Turn | None = None, **more: Any) -> Facts:
    turn = turn or row()
    return Facts(turn, answered=True, answer_ms=turn.voice_to_voice_ms, **more)


def test_within() -> None:
    assert verdict(expect(within="400ms"), facts()) == {"answered": True, "within 400 ms": True}
    assert verdict(expect(within="399ms"), facts())["within 399 ms"] is False
    silent = Facts(None)
    assert verdict(expect(within="1s"), silent) == {"answered": False, "within 1000 ms": False}


def test_stages() -> None:
    held = verdict(expect(stages={"llm": "170ms", "tts": "10ms", "chunk": "5ms"}), facts())
    assert (held["stage llm 170 ms"], held["stage tts 10 ms"], held["stage chunk 5 ms"]) == (True, False, True)
    by_sound = facts(by_sound=True)
    assert verdict(expect(stages={"llm": "1ms"}), by_sound)["stage llm"] is None


def test_silence_and_errors() -> None:
    assert verdict(expect(answered=False), Facts(None), wants_answer=False) == {"not answered": True}
    assert verdict(expect(answered=False), facts(), wants_answer=False) == {"not answered": False}
    failed = row(error=Failure("RateLimitedError", "too many"))
    assert verdict(expect(error="ratelimited"), facts(failed)) == {"error: ratelimited": True}
    assert verdict(expect(error="auth"), facts(failed)) == {"error: auth": False}
    assert verdict(expect(error="auth"), facts()) == {"error: auth": False}
    assert verdict(expect(), facts(failed)) == {"answered": False}  # an apology is no answer


def test_overlaps() -> None:
    assert verdict(expect(must_not_cut_off=True), facts(cut_off=True))["must_not_cut_off"] is False
    assert verdict(expect(stops_within="200ms"), facts(stopped_ms=199.0))["stops_within 200 ms"] is True
    assert verdict(expect(stops_within="200ms"), facts(stopped_ms=201.0))["stops_within 200 ms"] is False
    assert verdict(expect(stops_within="200ms"), facts())["stops_within"] is None  # nothing there to stop
    assert verdict(expect(resumes=True), facts(resumed=True))["resumes"] is True
    assert verdict(expect(resumes=True), facts())["resumes"] is False
    assert verdict(expect(resumes=False), facts(resumed=False))["does not resume"] is True


def test_words() -> None:
    turn = row(user_text="Who wrote it?", agent_text="Jane Austen did.")
    assert verdict(expect(heard="WROTE"), facts(turn))["heard: WROTE"] is True
    assert verdict(expect(says="bront"), facts(turn))["says: bront"] is False
    rate = verdict(expect(heard={"wer": "34%"}), facts(turn, said="Who wrote this?"))
    assert rate["heard: wer at most 34%"] is True
    assert verdict(expect(heard={"wer": "30%"}), facts(turn, said="Who wrote this?"))["heard: wer at most 30%"] is False
    assert verdict(expect(heard={"wer": "30%"}), facts(turn))["heard: wer"] is None
    assert verdict(expect(heard="x"), facts(turn, by_sound=True))["heard"] is None
    judged = expect(says={"judge": "names her"})
    assert verdict(judged, facts(turn))["says: names her"] is None
    assert verdict(judged, facts(turn, judged={"names her": (False, "no")}))["says: names her"] is False


def test_tools() -> None:
    called = facts(calls=(("weather", {"city": "Bonn", "unit": "C"}),))
    assert verdict(expect(tool_called="weather"), called)["tool_called weather"] is True
    wanted = expect(tool_called=[{"name": "weather", "args": {"city": "Bonn"}}, "time"])
    assert verdict(wanted, called) == {
        "answered": True,
        'tool_called weather {"city": "Bonn"}': True,
        "tool_called time": False,
    }
    other = expect(tool_called={"name": "weather", "args": {"city": "Ulm"}})
    assert False in verdict(other, called).values()


def test_the_whole() -> None:
    turns = [row(ms) for ms in (400.0, 500.0, 600.0)] + [row(700.0, cut_off=True)]
    turns[0] = row(400.0, speculation=Speculation(requests=3, thrown_away=2, tokens_wasted=80))
    wanted = WholeExpect.model_validate(
        {"p50": "500ms", "p95": "550ms", "cut_offs": 0, "unanswered": 1, "wasted_tokens": 20, "gaps": 0}
    )
    held = {check.what: check.ok for check in check_whole(wanted, turns, 1)}
    assert held == {
        "p50 500 ms": True,  # the cut-off counts as one, and not as fast
        "p95 550 ms": False,
        "cut_offs at most 0": False,
        "unanswered at most 1": True,
        "gaps at most 0": True,
        "wasted_tokens at most 20 a turn": True,
    }
    assert check_whole(wanted, [], 0)[0] == Check("p50 500 ms", False, "there was none")


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=8), st.lists(st.sampled_from(["a", "b", "c"]), max_size=8))
def test_word_errors(left: list[str], right: list[str]) -> None:
    rate = word_error_rate(" ".join(left), " ".join(right))
    assert rate >= 0
    assert (rate == 0) == (left == right)
    if left:
        assert rate <= max(len(left), len(right)) / len(left)
        assert rate >= abs(len(left) - len(right)) / len(left)


def test_word_errors_pass_over_case_and_punctuation() -> None:
    assert word_error_rate("It\u2019s Mr. X!", "it's mr x") == 0
    assert word_error_rate("one two three four", "one too three") == pytest.approx(0.5)
