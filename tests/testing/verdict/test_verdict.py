"""The verdict: intervals that hold what they promise, regressions called and not called, the guilty stage named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.budget.ledger import Mark, Turn, TurnBuilder
from voice_agent.testing.verdict.compare import Comparison, VerdictOutcome, compare
from voice_agent.testing.verdict.work import (
    FIRST_SOUND_OWN_MS,
    OTHERS_MS,
    PASS_MS,
    PASS_OWN_MS,
    STAGES,
    TOTAL,
    by_item,
)

Samples = dict[str, dict[str, list[float]]]
BASE = {"stt": 60.0, "dispatch": 2.0, "llm": 175.0, "chunk": 3.0, "tts": 45.0, "endpointing": 190.0, "output": 5.0}
ITEMS = ("a", "b", "c", "d")


def run(
    seed: int, *, n: int = 6, late: str = "", by_ms: float = 40.0, heard: float = 1.0, speed: float = 1.0
) -> Samples:
    """A made-up run: each stage with a long tail to the right, the total their sum; ``heard``: share of the delay
    that reaches the user; ``speed``: how much longer computing takes."""
    rng = np.random.default_rng(seed)
    found: Samples = {}
    for place, item in enumerate(ITEMS):
        for _ in range(n):
            total = 0.0
            for stage, ms in BASE.items():
                value = ms * (1 + 0.1 * place) + float(rng.exponential(ms * 0.05))
                if stage in ("stt", "dispatch", "chunk", "tts"):
                    value *= speed
                total += value + (by_ms * heard if stage == late else 0.0)
                if stage == late:
                    value += by_ms
                found.setdefault(stage, {}).setdefault(item, []).append(value)
            found.setdefault(TOTAL, {}).setdefault(item, []).append(total)
    return found


def calibration(seed: int, speed: float = 1.0) -> list[float]:
    tail = np.random.default_rng(seed).exponential(0.03, 24)
    return [20.0 * speed * (1 + float(late)) for late in tail]


@pytest.mark.parametrize("stage", [str(stage) for stage in STAGES])
def test_the_late_stage_is_named(stage: str) -> None:
    for seed in range(4):
        verdict = compare(run(seed), run(seed + 100, late=stage), seed=seed)
        assert verdict.outcome is VerdictOutcome.REGRESSION
        assert verdict.guilty is not None
        assert verdict.guilty.measure == stage
        assert verdict.guilty.difference.low < 40 < verdict.guilty.difference.high + 5


def test_no_false_alarm() -> None:
    outcomes = [compare(run(seed), run(seed + 1000), seed=seed).outcome for seed in range(30)]
    assert outcomes.count(VerdictOutcome.REGRESSION) == 0
    assert outcomes.count(VerdictOutcome.PASSED) >= 27


def test_a_delay_behind_the_wait_is_found_all_the_same() -> None:
    verdict = compare(run(1), run(2, late="llm", heard=0.0))
    assert verdict.outcome is VerdictOutcome.REGRESSION
    assert verdict.guilty is not None
    assert verdict.guilty.measure == "llm"
    assert any("hidden" in note for note in verdict.notes)


def shared(seed: int, *, repeats: int = 5, late: str = "", by_ms: float = 40.0, load: float = 1.0) -> list[Turn]:
    """Turns on a machine whose other programs double or treble what is computed, for whole repeats at a time.

    ``late``: stt is hidden behind the wait for the end of the turn, tts is heard. ``load``: how busy the others are.
    """
    rng = np.random.default_rng(seed)
    found: list[Turn] = []
    for _ in range(repeats):
        busy = float(rng.uniform(0.0, 3.0)) * load
        for place, item in enumerate(ITEMS):
            own = {name: BASE[name] * (1 + 0.1 * place) + float(rng.exponential(4.0)) for name in ("stt", "tts")}
            if late:
                own[late] += by_ms
            taken = {name: ms * busy * float(rng.uniform(0.5, 1.5)) for name, ms in own.items()}
            turn = TurnBuilder(len(found), item=item)
            speech, wait = 10.0, 0.19 + float(rng.exponential(0.004))
            turn.mark(Mark.SPEECH_ENDED, speech)
            turn.mark(Mark.TRANSCRIPT_READY, speech - 0.1)
            turn.mark(Mark.LLM_REQUESTED, speech - 0.098)
            content = speech + 0.077 + float(rng.exponential(0.003))
            turn.mark(Mark.LLM_FIRST_CONTENT, content)
            turn.mark(Mark.CHUNK_READY, content + 0.003)
            sound = content + 0.003 + (own["tts"] + taken["tts"]) / 1000
            turn.mark(Mark.TTS_FIRST_AUDIO, sound)
            turn.mark(Mark.TURN_COMMITTED, speech + wait)
            turn.mark(Mark.FIRST_AUDIBLE, max(sound, speech + wait) + 0.006)
            turn.evidence[PASS_MS] = own["stt"] + taken["stt"]
            turn.evidence[PASS_OWN_MS] = own["stt"] + 0.1 * taken["stt"] * float(rng.uniform(-1.0, 1.0))
            turn.evidence[FIRST_SOUND_OWN_MS] = own["tts"]
            turn.evidence[OTHERS_MS] = taken["stt"] + taken["tts"]
            found.append(turn.build())
    return found


def verdict_on(seed: int, **after: Any) -> Comparison:
    fixed = (calibration(seed), calibration(seed + 1))
    return compare(by_item(shared(seed)), by_item(shared(seed + 500, **after)), calibration=fixed, seed=seed)


@pytest.mark.parametrize("late", ["stt", "tts"])
def test_what_computes_late_is_found_on_a_shared_machine(late: str) -> None:
    verdicts = [verdict_on(seed, late=late) for seed in range(20)]
    named = [
        v
        for v in verdicts
        if v.outcome is VerdictOutcome.REGRESSION and v.guilty is not None and v.guilty.measure == late
    ]
    assert len(named) >= 19
    assert all(v.guilty is not None and 30 < v.guilty.difference.estimate < 50 for v in named)


def test_no_false_alarm_on_a_shared_machine() -> None:
    outcomes = [verdict_on(seed).outcome for seed in range(40)]
    assert outcomes.count(VerdictOutcome.REGRESSION) <= 2


def test_a_busier_machine_is_not_the_code() -> None:
    """The user waits for longer, and no stage does more: the other programs took it."""
    verdicts = [verdict_on(seed, load=4.0) for seed in range(10)]
    assert all(v.outcome in (VerdictOutcome.MACHINE, VerdictOutcome.INCONCLUSIVE) for v in verdicts)
    blamed = next(v for v in verdicts if v.outcome is VerdictOutcome.MACHINE)
    assert any(note.startswith("other programs took +") for note in blamed.notes)


def test_a_late_pass_that_the_wait_hides_is_called_hidden() -> None:
    quiet = by_item(shared(1, load=0.0)), by_item(shared(2, load=0.0, late="stt"))
    verdict = compare(*quiet, calibration=(calibration(1), calibration(2)))
    assert (verdict.outcome, verdict.guilty and verdict.guilty.measure) == (VerdictOutcome.REGRESSION, "stt")
    assert verdict.total is not None
    assert verdict.total.settled
    assert "hidden behind the wait: the user hardly hears it yet" in verdict.notes


def test_a_run_with_a_stage_that_may_be_slower_does_not_pass() -> None:
    before, after = run(3), run(4)
    after["tts"] = {item: [ms + 30.0 * (place % 2) for place, ms in enumerate(v)] for item, v in after["tts"].items()}
    assert compare(before, run(4)).outcome is VerdictOutcome.PASSED
    verdict = compare(before, after, tolerance_ms=12.0)
    assert verdict.total is not None
    assert verdict.total.settled
    assert verdict.outcome is VerdictOutcome.INCONCLUSIVE
    assert any(note.startswith("tts may be slower: +") for note in verdict.notes)
    assert verdict.more is not None


def test_the_tolerance_grows_by_what_the_processor_may_explain() -> None:
    """The fixed work 8 % slower, and certainly not more than about 10: a stage of 45 ms may be 4 or 5 ms slower."""
    steady = compare(run(1), run(2), calibration=(calibration(1), calibration(2)))
    slower = compare(run(1), run(2), calibration=(calibration(1), calibration(2, 1.08)))
    held = {v: {str(m.measure): m.tolerance_ms for m in c.stages} for v, c in (("s", steady), ("l", slower))}
    assert held["s"]["tts"] == pytest.approx(15.0, abs=1.5)
    assert held["l"]["tts"] == pytest.approx(15.0 + 0.1 * 52, abs=2.0)
    assert held["l"]["llm"] == held["s"]["llm"] == 15.0


def test_a_slower_machine_is_not_the_code() -> None:
    before, after = run(1), run(2, speed=1.6)
    blamed = compare(before, after)
    assert blamed.outcome is VerdictOutcome.REGRESSION  # without a calibration it cannot be told
    known = compare(before, after, calibration=(calibration(1), calibration(2, 1.6)))
    assert known.outcome is VerdictOutcome.MACHINE
    assert known.machine is not None
    assert known.machine.estimate == pytest.approx(1.6, rel=0.05)


def test_slower_code_on_a_slower_machine_is_still_the_code() -> None:
    after = run(2, speed=1.6, late="tts", by_ms=80.0)
    verdict = compare(run(1), after, calibration=(calibration(1), calibration(2, 1.6)))
    assert verdict.outcome is VerdictOutcome.REGRESSION
    assert verdict.guilty is not None
    assert verdict.guilty.measure == "tts"


def test_an_unsteady_machine_passes_nothing_and_blames_no_stage_that_computes() -> None:
    shaky = [20.0, 30.0, 60.0, 25.0, 45.0, 22.0, 80.0, 35.0]
    slower = compare(run(1), run(2, late="tts"), calibration=(shaky, shaky))
    assert slower.outcome is VerdictOutcome.INCONCLUSIVE
    assert any("unsteady" in note for note in slower.notes)
    assert compare(run(1), run(2), calibration=(shaky, shaky)).outcome is VerdictOutcome.INCONCLUSIVE
    other = compare(run(1), run(2, late="llm"), calibration=(shaky, shaky))  # waits for another machine
    assert other.outcome is VerdictOutcome.REGRESSION
    assert other.guilty is not None
    assert other.guilty.measure == "llm"


def test_a_machine_ten_times_as_slow_is_not_divided_by() -> None:
    verdict = compare(run(1), run(2, speed=10.0), calibration=(calibration(1), calibration(2, 10.0)))
    assert verdict.outcome is VerdictOutcome.MACHINE
    assert {str(moved.measure) for moved in verdict.stages} == {"llm", "endpointing", "output"}


def test_too_little_is_inconclusive_and_says_how_much_more() -> None:
    before, after = {TOTAL: {"a": [400.0, 900.0, 420.0]}}, {TOTAL: {"a": [410.0, 430.0, 880.0]}}
    few = compare(before, after)
    assert few.outcome is VerdictOutcome.INCONCLUSIVE
    assert few.more == 2
    rng = np.random.default_rng(0)
    wide = [{TOTAL: {"a": (400 + rng.exponential(150, 8)).tolist()}} for _ in range(2)]
    verdict = compare(*wide)
    assert verdict.outcome is VerdictOutcome.INCONCLUSIVE
    assert verdict.more is not None
    assert verdict.more > 8
    assert "more turns needed" in str(verdict)


def test_nothing_in_common_decides_nothing() -> None:
    verdict = compare({TOTAL: {"a": [1.0] * 9}}, {TOTAL: {"b": [1.0] * 9}})
    assert (verdict.outcome, verdict.total) == (VerdictOutcome.INCONCLUSIVE, None)


def test_a_latency_bought_with_cut_offs_does_not_pass() -> None:
    verdict = compare(run(1), run(2), cut_offs=(0, 3))
    assert verdict.outcome is VerdictOutcome.INCONCLUSIVE
    assert any("cut-offs" in note for note in verdict.notes)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 3.0))
def test_verdicts_are_the_same_in_other_units_of_noise(seed: int, scale: float) -> None:
    """Order of items and of values does not matter."""
    before, after = run(seed), run(seed + 1, late="llm", by_ms=30 * scale)
    turned: Samples = {m: dict(reversed(items.items())) for m, items in after.items()}
    assert compare(before, after).outcome is compare(before, turned).outcome


def test_the_verdict_reads_as_a_sentence() -> None:
    text = str(compare(run(1), run(2, late="llm")))
    assert text.startswith("regression; voice to voice +")
    assert "guilty: llm +" in text
    assert isinstance(compare(run(1), run(2)), Comparison)
