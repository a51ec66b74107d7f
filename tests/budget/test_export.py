from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.budget import Budget, Failure, Mark, Models, Speculation, Turn, TurnBuilder, Usage
from voice_agent.budget.export import SCHEMA, JsonlWriter, from_row, read_jsonl, to_row
from voice_agent.errors import UsageError

MakeTurn = Callable[..., Turn]

MARKS = {
    "speech_ended": 0, "transcript_ready": 60.04, "llm_requested": 62.11, "llm_first_content": 162.26,
    "chunk_ready": 170.37, "tts_first_audio": 200.48, "turn_committed": 650.55, "first_audible": 662.66,
}  # fmt: skip


@pytest.fixture
def full(make_turn: MakeTurn) -> Turn:
    """A turn with something in every field."""
    return make_turn(
        MARKS,
        id=7,
        item="clips/a.wav",
        user_text="Wie spät ist es?\u2028 😀 \ud83d",  # a line separator, an emoji, and half of one
        agent_text='It is "nine".\n',
        models=Models("cerebras", "llama-3.3-70b", "base", "en_US-joe-medium"),
        usage=Usage(120, 18, 1.234, 5.678, 8.9),
        speculation=Speculation(3, 1, 2, 41),
        interrupted=True,
        cut_off=True,
        reopened=True,
        simulated=["llm"],
        error=Failure("ProviderStreamError", "hung up"),
        evidence={"p_end": 0.93, "pauses_s": [0.2, 0.31], "policy": {"state": "sure"}},
        speech_ended_s=12.34567,
        first_audible_s=13.00833,
        audio_gaps=1,
        audio_gaps_ms=12.5,
    )


def test_a_row_has_what_the_command_line_promises(full: Turn) -> None:
    row = to_row(full, Budget())
    assert row["schema"] == SCHEMA
    assert row["turn"] == 7
    assert row["item"] == "clips/a.wav"
    assert row["speech_ended_s"] == 12.3457
    assert row["first_audible_s"] == 13.0083
    assert row["voice_to_voice_ms"] == 662.7
    assert row["spans_ms"] == {
        "stt": 60.0, "dispatch": 2.1, "llm": 100.2, "chunk": 8.1, "tts": 30.1, "endpointing": 450.1, "output": 12.1,
        "unattributed": 0.0,
    }  # fmt: skip
    assert row["over_budget"] is True
    assert row["over_by_ms"] == 162.7
    assert row["guilty"] == "endpointing"
    assert row["guilty_by_ms"] == 250.1
    assert row["cut_off"] is row["interrupted"] is row["reopened"] is True
    assert row["simulated"] == ["llm"]
    assert row["error"] == {"type": "ProviderStreamError", "message": "hung up"}
    assert row["marks_ms"]["speech_ended"] == 0.0
    assert row["marks_ms"]["turn_committed"] == 650.6
    assert row["speculation"]["lead_ms"] == 588.5
    assert row["evidence"]["policy"] == {"state": "sure"}
    assert to_row(full, Budget(), item="other.wav")["item"] == "other.wav"


def test_an_unanswered_turn_has_no_figures_but_a_row(make_turn: MakeTurn) -> None:
    row = to_row(make_turn({"turn_committed": 5}), Budget())
    assert row["voice_to_voice_ms"] is None
    assert row["over_budget"] is None
    assert row["guilty"] is row["guilty_by_ms"] is None
    assert row["spans_ms"] == {}
    assert row["marks_ms"]["first_audible"] is None
    assert row["marks_ms"]["turn_committed"] == 0.0  # the first mark there is


def test_a_turn_comes_back(full: Turn) -> None:
    row = to_row(full, Budget())
    back = from_row(row)
    assert to_row(back, Budget()) == row
    for name in ("id", "item", "user_text", "agent_text", "models", "speculation", "simulated", "error", "evidence"):
        assert getattr(back, name) == getattr(full, name)


@given(
    st.fixed_dictionaries({mark: st.none() | st.floats(1e5, 1e5 + 2) | st.floats(-1, 1) for mark in Mark}),
    st.floats(1, 1000),
)
def test_printed_spans_sum_to_the_printed_total(marks: dict[Mark, float | None], total_ms: float) -> None:
    builder = TurnBuilder(1)
    for mark, at in marks.items():
        if at is not None:
            builder.mark(mark, at)
    turn = builder.build()
    row = json.loads(json.dumps(to_row(turn, Budget(total_ms)), allow_nan=False))
    total = row["voice_to_voice_ms"]
    if total is None:
        assert row["spans_ms"] == {}
    else:
        assert sum(Decimal(str(ms)) for ms in row["spans_ms"].values()) == Decimal(str(total))
        # An overlap shorter than half a step of the grid is printed as no wait at all.
        assert (turn.voice_to_voice_ms or 0.0) == pytest.approx(total, abs=0.0501)
    assert to_row(from_row(row), Budget(total_ms)) == row


def test_json_has_no_nan_and_a_strange_value_tells_only_its_type(make_turn: MakeTurn) -> None:
    class Client:
        def __repr__(self) -> str:
            return "Client(key='very-secret')"

    evidence: dict[Any, Any] = {
        "nan": math.nan,
        "inf": [math.inf],
        "numpy": np.float32(0.5),
        "count": np.int64(3),
        "curve": np.array([0.25, math.nan]),
        "client": Client(),
        "set": {1},
        3: None,
    }
    turn = make_turn(MARKS, evidence=evidence, usage=Usage(queue_ms=math.nan), first_audible_s=math.inf)
    row = to_row(turn, Budget())
    assert "secret" not in json.dumps(row, allow_nan=False)
    assert row["first_audible_s"] is None
    assert row["provider_ms"]["queue"] is None
    assert row["evidence"] == {
        "nan": None, "inf": [None], "numpy": 0.5, "count": 3, "curve": [0.25, None], "client": "<Client>", "set": [1],
        "3": None,
    }  # fmt: skip


def test_each_turn_is_in_the_file_when_write_returns(tmp_path: Path, full: Turn) -> None:
    path = tmp_path / "new" / "turns.jsonl"
    with JsonlWriter(path) as writer:
        for count in (1, 2):
            writer.write(full)
            turns, problems = read_jsonl(path)  # by another handle, while this one is open
            assert (len(turns), problems) == (count, [])
    assert path.read_bytes().count(b"\n") == 2
    assert turns[0].user_text == full.user_text


def test_a_torn_last_line_costs_that_line_only(tmp_path: Path, full: Turn) -> None:
    path = tmp_path / "turns.jsonl"
    with JsonlWriter(path) as writer:
        writer.write(full)
        writer.write(full)
    whole = path.read_bytes()
    for cut in (1, 10, 400, len(whole) // 2 - 2):
        path.write_bytes(whole[: len(whole) - 1 - cut])
        turns, problems = read_jsonl(path)
        assert len(turns) == 1
        assert problems == ["line 2: torn (the program that wrote it ended in mid-line); skipped"]
    # The next run leaves the torn line where it is and starts a line of its own.
    with JsonlWriter(path) as writer:
        writer.write(full)
    turns, problems = read_jsonl(path)
    assert len(turns) == 2
    assert len(problems) == 1
    assert problems[0].startswith("line 2: not JSON")


def test_a_last_line_that_lacks_only_its_newline_is_whole(tmp_path: Path, full: Turn) -> None:
    path = tmp_path / "turns.jsonl"
    with JsonlWriter(path) as writer:
        writer.write(full)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert [turn.id for turn in read_jsonl(path)[0]] == [7]


def test_lines_that_are_no_turns_are_named(tmp_path: Path, full: Turn) -> None:
    row = to_row(full, Budget())
    lines = [[], {"schema": 99}, {k: v for k, v in row.items() if k != "marks_ms"}, row | {"marks_ms": 3}, row]
    path = tmp_path / "turns.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n\xff\n", encoding="latin-1")
    turns, problems = read_jsonl(path)
    assert len(turns) == 1
    assert [problem.split(":")[0] for problem in problems] == ["line 1", "line 2", "line 3", "line 4", "line 7"]
    assert "schema 99" in problems[1]
    assert "marks_ms" in problems[2]


def test_unknown_keys_are_passed_over(full: Turn) -> None:
    assert from_row(to_row(full, Budget()) | {"later": 1}).id == 7


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write turns to"):
        JsonlWriter(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write turns to"):
        JsonlWriter(tmp_path / "file" / "turns.jsonl")
    with pytest.raises(UsageError, match="cannot read turns from"):
        read_jsonl(tmp_path / "absent")


def test_a_pipe_will_do(full: Turn) -> None:
    read_end, write_end = os.pipe()
    with JsonlWriter(f"/dev/fd/{write_end}") as writer:
        writer.write(full)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert json.loads(pipe.read())["turn"] == 7


def test_closing_twice_is_fine(full: Turn, tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path / "turns.jsonl")
    writer.write(full)
    writer.close()
    writer.close()
    assert writer.path.read_bytes().count(b"\n") == 1
