"""Recorded turns under other settings: the replay agrees with what happened, and changes what it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voice_agent.budget.export import JsonlWriter, read_jsonl
from voice_agent.budget.ledger import Turn
from voice_agent.budget.stage_times import StageTimes
from voice_agent.cli import main as cli
from voice_agent.clock import Clock
from voice_agent.config import load
from voice_agent.errors import ConfigError, UsageError
from voice_agent.testing.doubles import conversation, run
from voice_agent.testing.replay import Evidence, recorded, replay, silence
from voice_agent.testing.replay import load as load_evidence
from voice_agent.testing.replay import save as save_evidence
from voice_agent.testing.replay.chart import Series, svg
from voice_agent.testing.replay.sweep import changes_of, compare, parse_dial, picture, sweep


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conversation on virtual time: a question, a hold, and a user who is cut off and goes on."""

    async def main(clock: Clock) -> list[Turn]:
        config = load(env={}, flags={"turn.record_evidence": "true"})
        async with conversation(clock, config) as c:
            await c.say("What is the weather like in town?")
            await c.silence(1.0)
            await c.say("To mute yourself", 0.7, "press star six on the phone.")
            await c.silence(1.0)
            await c.say("I would like a table.", 0.45, "For four people please.")
            await c.silence(2.0)
        return c.ledger

    path = tmp_path_factory.mktemp("replay") / "run.jsonl"
    with JsonlWriter(path) as writer:
        for turn in run(main):
            writer.write(turn)
    return path


@pytest.fixture(scope="module")
def turns(rows: Path) -> list[Turn]:
    found, problems = read_jsonl(rows)
    assert not problems
    return found


def test_the_replay_agrees_with_what_was_measured(turns: list[Turn]) -> None:
    utterances, notes = recorded(turns)
    assert not notes
    assert len(utterances) == 3
    for one in compare(utterances, {})[:2]:
        assert one.same == one.other
        assert one.same.delay_s is not None
        assert one.recorded.delay_ms is not None
        assert one.same.delay_s * 1000 == pytest.approx(one.recorded.delay_ms, abs=35)
        assert not one.same.cut


def test_a_user_who_was_cut_off_and_went_on_is_one_utterance(turns: list[Turn]) -> None:
    last = recorded(turns)[0][-1]
    said = " ".join(t.user_text for t in last.turns)
    assert said == "I would like a table. For four people please."
    assert len(last.evidence.pauses) == 2
    (_, resumed), (end, _) = last.evidence.pauses
    assert resumed is not None
    assert last.evidence.speech_end_s == pytest.approx(end)
    eager, patient = (compare([last], {"wait_sure_s": s})[0].other for s in (0.3, 0.6))
    assert eager.cut
    assert not patient.cut
    assert patient.delay_s == pytest.approx(0.458, abs=0.01)  # from the end of the whole utterance
    assert (eager.requests, patient.requests) == (3, 2)


def test_patience_costs_delay_and_saves_cut_offs(turns: list[Turn]) -> None:
    utterances, _ = recorded(turns)
    points = sweep(utterances, parse_dial("turn.wait_sure_s=0.05..0.9/3"))
    assert [p.value for p in points] == [0.05, 0.475, 0.9]
    assert points[0].cut_offs > points[-1].cut_offs
    delays = [p.delay.p50_ms for p in points if p.delay is not None]
    assert delays == sorted(delays)
    assert delays[0] < delays[-1]


def test_settings_are_those_of_the_recording(turns: list[Turn]) -> None:
    (first, *_), _ = recorded(turns)
    assert first.settings == {"end_of_turn_model": "rules"}


def test_rows_without_evidence_are_told(turns: list[Turn]) -> None:
    import dataclasses

    bare = dataclasses.replace(turns[0], evidence={})
    torn = dataclasses.replace(turns[1], evidence={"recorded": {"windows": [[1]]}})
    found, notes = recorded([bare, torn])
    assert found == []
    assert "turn.record_evidence=true" in notes[0]
    assert "cannot be read" in notes[1]


@pytest.mark.parametrize("pair", ["patience=1", "llm.spec=sim", "turn.patience"])
def test_only_the_turn_can_be_changed(pair: str) -> None:
    with pytest.raises(UsageError, match="turn"):
        changes_of([pair])


def test_a_value_that_the_setting_does_not_allow_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        parse_dial("turn.patience=0..3/4")


@pytest.mark.parametrize("text", ["turn.patience", "turn.patience=a..b/c", "turn.patience=0..1/1", "stt.threads=1,2"])
def test_a_dial_that_makes_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="--dial"):
        parse_dial(text)


def _clip() -> Evidence:
    windows = [(round(0.032 * i, 3), 0.9 if 10 <= i < 40 or 60 <= i < 80 else 0.02) for i in range(1, 200)]
    passes = [(0.032 * 41, 0.032 * 41 + 0.06, "I would like"), (0.032 * 82, 0.032 * 82 + 0.06, "I would like a table")]
    scores = {"i would like": (-6.0, 0.01), "i would like a table": (-1.0, 0.01)}
    return Evidence("clip", "whole", windows[78][0], windows, passes, scores)


def test_an_unfinished_text_is_waited_for() -> None:
    turn = load(env={}).turn
    assert not replay(_clip(), turn).cut
    assert silence(_clip(), 0.2).cut
    assert not silence(_clip(), 1.0).cut


def test_the_pace_of_the_other_stages_counts() -> None:
    turn = load(env={}).turn
    quick, slow = (replay(_clip(), turn, StageTimes(llm_s=s)).delay_s for s in (0.05, 1.0))
    assert quick is not None
    assert slow is not None
    assert slow - quick > 0.5


def test_evidence_is_kept_in_a_file(tmp_path: Path) -> None:
    save_evidence(tmp_path / "e.json", [_clip()])
    assert load_evidence(tmp_path / "e.json") == [_clip()]
    (tmp_path / "no.json").write_text("[1]")
    with pytest.raises(UsageError, match="no recorded evidence"):
        load_evidence(tmp_path / "no.json")


def test_the_verbs(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["replay", str(rows), "--set", "turn.patience=1", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["change_ms"] > 50 for line in lines] == [True, True, True]
    assert cli(["replay", str(rows), "--set", "turn.patience=1"]) == 0
    shown = capsys.readouterr().out
    assert "What is the weather like in town?" in shown
    assert "how true:" in shown
    assert cli(["tune", str(rows), "--dial", "turn.patience=0..1/3", "--svg", str(tmp_path / "t.svg")]) == 0
    assert "turn.patience" in capsys.readouterr().out
    assert (tmp_path / "t.svg").read_text().startswith("<svg")
    (tmp_path / "empty.jsonl").write_text("")
    assert cli(["replay", str(tmp_path / "empty.jsonl")]) == 2
    assert "turn.record_evidence=true" in capsys.readouterr().err


def test_the_picture_has_a_point_a_value(turns: list[Turn]) -> None:
    dial = parse_dial("turn.patience=0,0.5,1")
    drawn = picture(dial, sweep(recorded(turns)[0], dial))
    assert drawn.count('r="4"') == 3
    assert "turn.patience" in drawn
    assert svg("<t>", "x", "y", [Series("a", ((1.0, 2.0, "p&q"),))]).count("&lt;t&gt;") == 2
