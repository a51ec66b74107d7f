"""The degradation steps in a call, on virtual time: acknowledgements, hedges, swaps, and their rows in the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import Any, cast

import pytest
from livekit.agents import llm
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT
from livekit.agents.voice import SpeechHandle

from voice_agent.budget import Budget, verdict
from voice_agent.budget.console_report import ConsoleReport, explain, plain_line
from voice_agent.budget.export import from_row, to_row
from voice_agent.budget.ledger import Mark, Turn
from voice_agent.budget.path import Stage
from voice_agent.clock import Clock
from voice_agent.config import Config, DegradationConfig, FlagValue, load
from voice_agent.livekit_compat.speech import speech_made
from voice_agent.llm.sim_spec import SimSpec
from voice_agent.pipeline.acknowledgements import mark_wordless
from voice_agent.pipeline.fillers import cache_fillers
from voice_agent.pipeline.swaps import room_for_whisper
from voice_agent.runtime.malloc import resident_mb
from voice_agent.testing.doubles import Reply, ScriptedLLM, ScriptedTTS, conversation, run
from voice_agent.testing.doubles.conversation import Conversation
from voice_agent.testing.doubles.stt import ScriptedEngine

QUESTION = "What is the weather like today?"
STALLS = "sim:ttft=lognormal(150ms,0.2),stall=12%x3s,tps=2314,seed=4"


def settings(spec: str, **more: FlagValue) -> Config:
    return load(env={}, flags={"llm.spec": spec, **{k.replace("__", "."): v for k, v in more.items()}})


def talked(config: Config, turns: int, **more: Any) -> tuple[list[Turn], list[str]]:
    async def main(clock: Clock) -> tuple[list[Turn], list[str]]:
        async with conversation(clock, config, **more) as c:
            out = [await c.say(QUESTION) for _ in range(turns)]
            return out, c.heard

    return run(main)


@pytest.fixture(scope="module")
def stalled() -> tuple[list[Turn], list[str]]:
    """Without the hedge the answers of stalled requests come after three seconds: an acknowledgement comes first."""
    return talked(settings(STALLS, degradation__hedge=False, llm__max_completion_tokens=6), 30)


def test_an_acknowledgement_comes_before_a_late_answer_only(stalled: tuple[list[Turn], list[str]]) -> None:
    turns, _ = stalled
    told = [t for t in turns if t.acknowledged_ms is not None]
    assert told
    for turn in told:
        assert turn.voice_to_voice_ms is not None
        assert turn.acknowledged_ms is not None
        assert turn.acknowledged_ms + 900 < turn.voice_to_voice_ms  # it was worth it
        assert turn.first_audible_kind == "acknowledgement"
        assert turn.degradation["acknowledge"] in "Let me see., One moment., Let me think."
        assert turn.audio_gaps == 0
    assert all(t.first_audible_kind == "answer" for t in turns if t not in told)
    assert any((t.voice_to_voice_ms or 0) > 3000 for t in turns)


def test_never_in_two_turns_in_a_row_and_not_the_same_again(stalled: tuple[list[Turn], list[str]]) -> None:
    said = [(t.id, t.degradation["acknowledge"]) for t in stalled[0] if "acknowledge" in t.degradation]
    for (before, one), (after, other) in itertools.pairwise(said):
        assert int(after) > int(before) + 1
        assert one != other


def test_it_is_not_remembered(stalled: tuple[list[Turn], list[str]]) -> None:
    turns, heard = stalled
    assert len(heard) == len(turns)
    assert not any(word in text for text in heard for word in ("Let me see", "One moment"))
    assert all(t.agent_text == text for t, text in zip(turns, heard, strict=True))


def test_the_answer_counts_unless_the_first_sound_is_asked_for(stalled: tuple[list[Turn], list[str]]) -> None:
    turn = next(t for t in stalled[0] if t.acknowledged_ms is not None)
    assert verdict(turn, Budget(total_ms=1500)).over
    assert verdict(turn, Budget(total_ms=1500, counts="first")).over is False
    assert verdict(turn, Budget(total_ms=100, counts="first")).over


def test_the_row_and_the_screen_show_both_times(stalled: tuple[list[Turn], list[str]]) -> None:
    turn = next(t for t in stalled[0] if t.acknowledged_ms is not None)
    row = to_row(turn, Budget())
    assert row["first_audible_kind"] == "acknowledgement"
    assert row["acknowledged_ms"] == pytest.approx(turn.acknowledged_ms, abs=0.06)
    assert row["ladder"]["acknowledge"] == turn.degradation["acknowledge"]
    back = from_row(row)
    assert back.acknowledged_ms == pytest.approx(turn.acknowledged_ms, abs=0.06)
    assert to_row(back, Budget()) == row
    assert "acknowledgement was heard after" in explain(turn)
    assert "first word" in plain_line(turn, verdict(turn, Budget()))
    report = ConsoleReport()
    for t in stalled[0]:
        report.turn(t)
    summary = report.stats.summary()
    assert summary.degradation_steps["acknowledge"] == sum("acknowledge" in t.degradation for t in stalled[0])
    assert summary.first_sound is not None
    assert "acknowledge" in summary.details()


def test_the_hedge_answers_in_time_and_the_ledger_says_so() -> None:
    turns, _ = talked(settings(STALLS, llm__max_completion_tokens=6), 30)
    hedged = [t for t in turns if t.degradation.get("hedge", {}).get("won")]
    assert hedged
    assert all((t.voice_to_voice_ms or 9999) < 1200 for t in hedged)
    assert sum((t.voice_to_voice_ms or 0) > 3000 for t in turns) <= 1
    assert all(t.marks[Mark.LLM_REQUESTED] is not None for t in turns)
    total = sum(sum(t.spans_ms.values()) for t in hedged)
    assert total == pytest.approx(sum(t.voice_to_voice_ms or 0 for t in hedged))


def test_a_tool_that_both_answers_call_runs_once() -> None:
    runs: list[str] = []

    async def book(name: str) -> str:
        """Book a table."""
        runs.append(name)
        return "booked"

    config = settings("sim:ttft=600ms", llm__hedge="sim:ttft=200ms", degradation__acknowledge=False)
    replies = [Reply("It is booked for you.", calls={"book": {"name": "Ann"}})]

    async def main(clock: Clock) -> tuple[Turn, int, int]:
        async with conversation(clock, config, replies=replies, tools=[llm.function_tool(book)]) as c:
            turn = await c.say("Please book a table for Ann.")
            model = c.pipeline.llm
            return turn, model.snapshot().hedged, model.models.primary.snapshot().cancelled

    turn, hedged, _ = run(main)
    assert hedged >= 1
    assert runs == ["Ann"]
    assert turn.error is None


def test_no_answer_in_time_is_an_apology_and_the_call_goes_on() -> None:
    config = settings("sim:ttft=9s", degradation__give_up_ms=1000, degradation__hedge=False)

    async def main(clock: Clock) -> tuple[list[Turn], bool]:
        async with conversation(clock, config) as c:
            first = await c.say(QUESTION)
            model = c.pipeline.llm
            assert isinstance(model.models.primary, ScriptedLLM)
            model.models.primary.script.pace = SimSpec()
            return [first, await c.say(QUESTION)], c.call_harness.idle

    (failed, answered), idle = run(main)
    assert failed.error is not None
    assert failed.error.kind == "DeadlineError"
    assert failed.degradation["gave_up"] == {"after_ms": 1000}
    assert not failed.counts_for_latency
    assert answered.error is None
    assert answered.voice_to_voice_ms is not None
    assert idle


def test_late_turn_after_turn_it_goes_on_with_the_other_model_and_comes_back() -> None:
    notes: list[str] = []
    config = settings(
        "sim:ttft=900ms", llm__hedge="sim:ttft=100ms", degradation__hedge=True, degradation__hedge_start_ms=5000,
        degradation__hedge_tokens=0.0, degradation__recover_after=3, degradation__acknowledge=False,
    )  # fmt: skip

    async def main(clock: Clock) -> list[Turn]:
        async with conversation(clock, config) as c:
            c.pipeline.on_note = notes.append
            return [await c.say(QUESTION) for _ in range(8)]

    turns = run(main)
    late = [bool(verdict(t, Budget()).over) for t in turns]
    assert late[:3] == [True] * 3
    assert late[3:6] == [False] * 3
    assert [t.degradation.get("degraded") for t in turns[3:6]] == [["simulated first"]] * 3
    assert late[6]
    assert len(notes) == 2
    assert "going on with simulated first" in notes[0]
    assert "back from simulated first" in notes[1]


def slow_stt(c: Conversation) -> None:
    """A pass of the doubled Whisper takes so long that the budget is missed for it."""
    cast("ScriptedEngine", c.pipeline.stt.engine).pass_s = 0.6


def test_a_late_stt_gets_a_smaller_whisper_only_where_there_is_room() -> None:
    def degraded(room: str) -> tuple[list[str], list[bool]]:
        notes: list[str] = []
        loads: list[bool] = []
        config = settings("sim:ttft=150ms", stt__model="base", degradation__hedge=False, degradation__acknowledge=False)

        async def main(clock: Clock) -> None:
            async with conversation(clock, config) as c:
                c.pipeline.on_note = notes.append
                slow_stt(c)
                (whisper,) = c.pipeline.degradation.swaps[Stage.STT]
                whisper.hindered = lambda: room
                usual = whisper.to

                async def to(less: bool) -> None:
                    loads.append(less)
                    await usual(less)

                whisper.to = to
                for _ in range(9):
                    await c.say(QUESTION)

        run(main)
        return [note.rsplit("going on with ", 1)[-1] for note in notes], loads

    assert degraded("") == (["Whisper tiny.en"], [True])
    assert degraded("it is full") == ([], [])


def test_another_whisper_needs_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice_agent.runtime.malloc.resident_mb", lambda: 780.0)
    assert room_for_whisper(DegradationConfig()) == ""
    assert "takes 895 MB" in room_for_whisper(DegradationConfig(degrade_memory_mb=890))
    monkeypatch.undo()
    assert 20 < resident_mb() < 20_000


def test_a_slow_model_is_spoken_sooner_in_fewer_words_and_without_a_gap() -> None:
    slow = "sim:ttft=700ms,tps=59"
    said = "The old bridge over the wide river was built by the people of this town about a hundred years ago."
    usual, _ = talked(settings(slow, degradation__small_first=False, degradation__hedge=False), 3, replies=[said] * 3)
    fewer, _ = talked(settings(slow, degradation__hedge=False), 3, replies=[said] * 3)
    assert [t.agent_text for t in usual] == [t.agent_text for t in fewer]
    assert sum(t.audio_gaps for t in fewer) == 0
    for a, b in zip(usual, fewer, strict=True):
        assert (b.voice_to_voice_ms or 0) <= (a.voice_to_voice_ms or 0) + 1e-6
    assert all("small_first" not in t.degradation for t in usual)
    assert any("small_first" in t.degradation for t in fewer)
    assert sum(b.voice_to_voice_ms or 0 for b in fewer) < sum(a.voice_to_voice_ms or 0 for a in usual)


def test_livekits_warning_is_suppressed_for_acknowledged_replies_only(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("livekit.agents")
    monkeypatch.setattr(logger, "propagate", True)  # whatever a command before this test has set
    monkeypatch.setattr(logger, "disabled", False)
    caplog.set_level(logging.WARNING, logger=logger.name)
    text = "`use_tts_aligned_transcript` is enabled but no agent transcript was returned from tts"

    def told(handle: SpeechHandle | None) -> bool:
        caplog.clear()
        with contextlib.nullcontext() if handle is None else speech_made(handle):
            logger.warning(text)
        return bool(caplog.records)

    async def main() -> None:
        other, acknowledged = SpeechHandle.create(), SpeechHandle.create()
        mark_wordless(acknowledged)
        assert told(None)
        assert told(other)
        assert not told(acknowledged)

    asyncio.run(main())


async def test_fillers_are_synthesised_one_by_one_while_nobody_speaks() -> None:
    voice = ScriptedTTS()
    busy = [True]
    sounds: dict[str, Any] = {}
    task = asyncio.create_task(cache_fillers(voice, ["Okay.", "Right."], sounds, idle=lambda: not busy[0]))
    await asyncio.sleep(0.05)
    assert sounds == {}
    busy[0] = False
    async with asyncio.timeout(10):
        await task
    assert list(sounds) == ["Okay.", "Right."]
    assert 0.1 < sounds["Okay."].seconds < 3
    frames = list(sounds["Okay."].frames())
    assert [str(t) for t in frames[0].userdata[USERDATA_TIMED_TRANSCRIPT]] == [""]
    assert sum(f.duration for f in frames) == pytest.approx(sounds["Okay."].seconds)
    await cache_fillers(voice, ["Okay."], sounds, idle=lambda: False)  # there already: nothing to wait for
    await voice.aclose()
