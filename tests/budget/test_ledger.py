from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.budget import Budget, Failure, Mark, Models, Stage, Turn, TurnBuilder, Usage, Verdict, verdict
from voice_agent.budget.export import rebased
from voice_agent.budget.path import NS_PER_MS, spans_ns
from voice_agent.clock import ManualClock
from voice_agent.config import BudgetConfig
from voice_agent.errors import ConfigError, ProviderAuthError
from voice_agent.trace import GenerationTrace

MakeTurn = Callable[..., Turn]


def late_by_model(extra_ms: float) -> dict[str, float]:
    """A turn of 260 ms + ``extra_ms``, the extra spent by the model; the commit came at 200 ms."""
    return {
        "speech_ended": 0, "transcript_ready": 60, "llm_requested": 60, "turn_committed": 200,
        "llm_first_content": 160 + extra_ms, "chunk_ready": 170 + extra_ms, "tts_first_audio": 240 + extra_ms,
        "first_audible": 260 + extra_ms,
    }  # fmt: skip


class TestBuilder:
    def test_the_first_write_of_a_mark_wins_and_zero_is_a_time(self) -> None:
        builder = TurnBuilder(1)
        builder.mark("speech_ended", 0.0)
        builder.mark(Mark.SPEECH_ENDED, 5.0)
        assert builder.build().marks[Mark.SPEECH_ENDED] == 0.0

    def test_absent_marks_are_none(self) -> None:
        assert TurnBuilder(1).build().marks == dict.fromkeys(Mark)

    @pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf])
    def test_a_time_is_finite(self, at: float) -> None:
        with pytest.raises(ValueError, match="leave a mark out"):
            TurnBuilder(1).mark("speech_ended", at)

    def test_an_unknown_mark_is_answered_with_those_that_exist(self) -> None:
        with pytest.raises(ValueError, match=r"'first_token'.*llm_first_content"):
            TurnBuilder(1).mark("first_token", 1.0)

    def test_absorbs_a_generation(self) -> None:
        clock = ManualClock(10.0)
        trace = GenerationTrace("g", clock)
        trace.mark("llm_requested")
        clock.advance(0.2)
        trace.mark("llm_first_content")
        trace.mark("llm_connected", 9.95)
        trace.fact(provider="p", model="m", prompt_tokens=40, queue_ms=1.5, simulated="llm", hedged=True)
        builder = TurnBuilder(1, models=Models(stt_model="base"))
        builder.mark("speech_ended", 9.9)
        builder.simulate(["llm", "user"])
        builder.absorb(trace)
        turn = builder.build()
        assert turn.marks[Mark.LLM_REQUESTED] == 10.0
        assert turn.marks[Mark.LLM_FIRST_CONTENT] == 10.2
        assert turn.models == Models(provider="p", model="m", stt_model="base")
        assert turn.usage == Usage(prompt_tokens=40, queue_ms=1.5)
        assert turn.simulated == ("llm", "user")
        assert turn.evidence == {"hedged": True, "other_marks_ms": {"llm_connected": 50.0}}
        assert trace.facts["provider"] == "p"  # the trace is left as it was

    def test_a_built_turn_does_not_change_with_its_builder(self) -> None:
        builder = TurnBuilder(1)
        turn = builder.build()
        builder.mark("speech_ended", 1.0)
        builder.evidence["late"] = 1
        builder.simulate("llm")
        assert turn == TurnBuilder(1).build()
        with pytest.raises(dataclasses.FrozenInstanceError):
            turn.cut_off = True  # type: ignore[misc]

    def test_the_first_failure_is_the_cause(self) -> None:
        builder = TurnBuilder(1)
        builder.fail(ProviderAuthError("the key was refused; set CEREBRAS_API_KEY"))
        builder.fail(RuntimeError("stream closed"))
        turn = builder.build()
        assert turn.error == Failure("ProviderAuthError", "the key was refused; set CEREBRAS_API_KEY")
        assert not turn.answered


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key provided: sk-proj-abc123def456",
        "csk-abc123def456 is not valid",
        "gsk_abc123def456 is not valid",
        "headers: {'Authorization: Bearer abc123def456'}",
        "Authorization: abc123def456",
        "GET /v1/models?api_key=abc123def456",
    ],
)
def test_a_quoted_key_does_not_reach_the_ledger(said: str) -> None:
    assert "abc123" not in str(Failure.of(RuntimeError(said)))


def test_a_failure_is_one_line_of_bounded_length() -> None:
    failure = Failure.of(RuntimeError("a\nb\t" + "x" * 10_000))
    assert failure.message.startswith("a b x")
    assert len(failure.message) == 500


class TestTurn:
    def test_voice_to_voice_on_a_line_that_starts_anywhere(self, make_turn: MakeTurn) -> None:
        turn = make_turn(late_by_model(0))
        assert turn.voice_to_voice_ms == pytest.approx(260)
        assert turn.lead_ms == pytest.approx(140)
        assert turn.overlap_ms is None
        assert turn.counts_for_latency

    def test_asked_after_the_commit_is_a_negative_lead(self, make_turn: MakeTurn) -> None:
        assert make_turn({"turn_committed": 200, "llm_requested": 230}).lead_ms == pytest.approx(-30)

    def test_audible_before_the_user_had_finished_is_a_cut_off_and_no_latency(self, make_turn: MakeTurn) -> None:
        turn = make_turn(late_by_model(0) | {"first_audible": -120})
        assert turn.cut_off
        assert turn.voice_to_voice_ms is None
        assert turn.overlap_ms == pytest.approx(120)
        assert turn.spans_ms == {}
        assert turn.answered
        assert not turn.counts_for_latency

    def test_cut_offs_and_failures_say_nothing_about_speed(self, make_turn: MakeTurn) -> None:
        assert not make_turn(late_by_model(0), cut_off=True).counts_for_latency
        assert not make_turn(late_by_model(0), error=Failure("DeadlineError", "4 s")).counts_for_latency


class TestVerdict:
    def test_within_the_budget_nobody_is_guilty(self, make_turn: MakeTurn) -> None:
        # The voice exceeds nothing, the chunk its share of 0: that alone is no crime.
        assert verdict(make_turn(late_by_model(0)), Budget()) == Verdict(False)

    def test_exactly_on_the_budget_is_within(self, make_turn: MakeTurn) -> None:
        assert verdict(make_turn(late_by_model(240)), Budget(total_ms=500)).over is False

    def test_the_stage_furthest_over_its_share_is_guilty(self, make_turn: MakeTurn) -> None:
        judged = verdict(make_turn(late_by_model(400)), Budget())
        assert judged.over is True
        assert judged.over_by_ms == pytest.approx(160)
        assert judged.guilty is Stage.LLM
        assert judged.guilty_by_ms == pytest.approx(300)  # 500 of 200

    def test_what_no_mark_explains_can_be_guilty(self, make_turn: MakeTurn) -> None:
        judged = verdict(make_turn({"speech_ended": 0, "first_audible": 800}), Budget())
        assert judged.guilty is Stage.UNATTRIBUTED
        assert judged.guilty_by_ms == pytest.approx(800)

    def test_late_although_every_stage_kept_to_its_share(self, make_turn: MakeTurn) -> None:
        marks = {
            "speech_ended": 0, "transcript_ready": 90, "llm_requested": 90, "llm_first_content": 280,
            "chunk_ready": 280, "tts_first_audio": 350, "turn_committed": 540, "first_audible": 560,
        }  # fmt: skip
        budget = Budget()  # shares of 610 ms in a total of 500
        judged = verdict(make_turn(marks), budget)
        assert judged.over is True
        assert judged.guilty is Stage.LLM
        assert judged.guilty_by_ms == pytest.approx(190 - 200 * 500 / 610)

    def test_no_answer_is_neither_in_time_nor_late(self, make_turn: MakeTurn) -> None:
        assert verdict(make_turn({"speech_ended": 0}), Budget()) == Verdict(None)

    @given(
        st.lists(st.integers(0, 3000), min_size=8, max_size=8),
        st.lists(st.floats(0, 500), min_size=8, max_size=8),
        st.floats(1, 2000),
    )
    def test_every_turn_over_its_budget_names_a_stage_that_exceeds_it(
        self, ms: list[int], shares: list[float], total_ms: float
    ) -> None:
        builder = TurnBuilder(1)
        for mark, at in zip(Mark, sorted(ms), strict=True):
            builder.mark(mark, at / 1000)
        named: dict[str, Any] = {f"{stage}_ms": share for stage, share in zip(Stage, shares, strict=True)}
        budget = Budget(total_ms, **named)
        turn = builder.build()
        judged = verdict(turn, budget)
        assert judged.over is (ms != [] and (max(ms) - min(ms)) > total_ms)
        assert (judged.guilty is not None) is judged.over
        if judged.guilty is not None:
            assert judged.over_by_ms > 0
            assert judged.guilty_by_ms > 0
            excess = {stage: spent - budget.shares_ms[stage] for stage, spent in turn.spans_ms.items()}
            if max(excess.values()) > 0:
                assert excess[judged.guilty] == pytest.approx(max(excess.values()))


class TestBudget:
    def test_the_configured_figures(self) -> None:
        config = BudgetConfig(total_ms=400, endpointing_ms=150, stt_ms=1, llm_ms=2, tts_ms=3, output_ms=4)
        assert Budget.from_config(config) == Budget(
            total_ms=400, endpointing_ms=150, stt_ms=1, llm_ms=2, tts_ms=3, output_ms=4
        )

    def test_the_defaults_are_those_of_the_configuration(self) -> None:
        assert Budget.from_config(BudgetConfig()) == Budget()

    @pytest.mark.parametrize("bad", [{"llm_ms": -1}, {"total_ms": 0}, {"tts_ms": math.nan}, {"output_ms": math.inf}])
    def test_a_bad_figure_is_named(self, bad: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=f"budget.{next(iter(bad))}"):
            Budget(**bad)


@given(st.fixed_dictionaries({mark: st.none() | st.floats(1e5, 1e5 + 3) for mark in Mark}))
def test_rebased_marks_lie_on_the_grid_close_to_the_real_ones(marks: dict[Mark, float | None]) -> None:
    builder = TurnBuilder(1)
    for mark, at in marks.items():
        if at is not None:
            builder.mark(mark, at)
    turn = builder.build()
    moved = rebased(turn)
    present = [at for at in marks.values() if at is not None]
    ended = marks[Mark.SPEECH_ENDED]
    origin = ended if ended is not None else min(present, default=0.0)
    for mark, at in moved.marks.items():
        was = marks[mark]
        assert (at is None) == (was is None)
        if at is not None and was is not None:
            assert at == pytest.approx(was - origin, abs=0.5001e-4)
            assert round(at * 1e9) % 100_000 == 0
    assert all(ns % (NS_PER_MS // 10) == 0 for ns in spans_ns(moved.path).values())
    assert rebased(moved) == moved
