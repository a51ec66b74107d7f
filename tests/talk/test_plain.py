"""Lines for people and objects for programs, parsed again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

from voice_agent.budget.export import from_row
from voice_agent.budget.ledger import Failure, Turn
from voice_agent.budget.turn_verdict import Budget
from voice_agent.talk.events import (
    AgentFinished,
    AgentWords,
    CallStatus,
    Ended,
    Event,
    Muted,
    Note,
    Progress,
    ProviderUsage,
    Ready,
    ShowLedger,
    SoundLevel,
    TurnDone,
    Typing,
    UserWords,
)
from voice_agent.talk.plain import JsonSink, PlainSink

MakeTurn = Callable[..., Turn]


def everything(turn: Turn) -> list[Event]:
    return [
        Progress("loading Whisper tiny.en"),
        Ready("double-1", "Simulated", "tiny.en", "joe", ("language model",), "input: a, output: b", 12.0, 20.0),
        Note("a note\x1b[2J\nand more"),
        CallStatus("hearing"), CallStatus("hearing"), UserWords("What", False), UserWords("What time is it?", True),
        CallStatus("thinking"), SoundLevel(-20.0, 0, 0), SoundLevel(-30.0, 0, 0), Muted(True), Typing("x"),
        AgentWords("It is "), AgentWords("nine."), AgentFinished(), CallStatus("speaking"),
        TurnDone(turn), ShowLedger(),
        SoundLevel(-20.0, 1, 0), SoundLevel(-10.0, 1, 0),
        ProviderUsage("cerebras", 12, 3400, "tokens_day", 0.82, "warn"), Ended("quit"),
    ]  # fmt: skip


def objects(events: list[Event]) -> list[dict[str, object]]:
    out = io.StringIO()
    sink = JsonSink(out, Budget())
    for number, event in enumerate(events):
        sink.take(number / 10, event)
        sink.tick()
    sink.close()
    return [json.loads(line) for line in out.getvalue().splitlines()]


class TestJson:
    def test_every_event_is_an_object(self, make_turn: MakeTurn) -> None:
        rows = objects(everything(make_turn(1)))
        assert [row["event"] for row in rows] == [
            "progress", "ready", "note", "state", "heard", "heard", "state", "muted", "saying", "saying", "said",
            "state", "turn", "xruns", "usage", "ended",
        ]  # fmt: skip
        assert all(isinstance(row["at_s"], float) for row in rows)

    def test_the_turn_is_a_ledger_row(self, make_turn: MakeTurn) -> None:
        turn = make_turn(7)
        row = next(row for row in objects([TurnDone(turn)]))
        read = from_row(row["turn"])  # type: ignore[arg-type]
        assert (read.id, read.voice_to_voice_ms, read.user_text) == (7, 320.0, turn.user_text)

    def test_provisional_words_say_so(self) -> None:
        first, second = objects([UserWords("Wha", False), UserWords("by hand", True, typed=True)])
        assert (first["final"], first["typed"]) == (False, False)
        assert (second["final"], second["typed"]) == (True, True)

    def test_any_encoding_will_do(self) -> None:
        assert objects([Note("déjà \udce9 \x1b")])[0]["text"] == "déjà \udce9 \x1b"

    def test_the_page_names_every_event_and_key(self, make_turn: MakeTurn) -> None:
        page = (Path(__file__).parents[2] / "docs" / "talk.md").read_text(encoding="utf-8")
        for row in objects(everything(make_turn(1))):
            line = next(line for line in page.splitlines() if line.startswith(f"| `{row['event']}` |"))
            for key in row.keys() - {"event", "at_s"}:
                assert f"`{key}`" in line, (row["event"], key)


class TestPlain:
    def lines(self, events: list[Event], encoding: str = "utf-8") -> list[str]:
        raw = io.BytesIO()
        sink = PlainSink(io.TextIOWrapper(raw, encoding=encoding), Budget())
        for event in events:
            sink.take(0.0, event)
            sink.tick()
        sink.close()
        return raw.getvalue().decode(encoding).splitlines()

    def test_nothing_is_provisional_or_said_twice(self, make_turn: MakeTurn) -> None:
        lines = self.lines(everything(make_turn(1)))
        assert lines[0] == "loading Whisper tiny.en ..."
        assert lines[1].startswith("ready: double-1 at Simulated (simulated: language model), Whisper tiny.en, joe")
        assert lines[2:4] == ["a note [2J", "and more"]
        assert lines[4].startswith("turn 1 | 320.0 ms | stt 60.0 ")
        assert sum("What time is it?" in line for line in lines) == 2  # the turn's line, and the ledger asked for
        figures = next(n for n, line in enumerate(lines) if line.startswith("P50 320  P95 320  max 320 ms (n = 1)"))
        assert "cut off 0 of 1" in lines[figures]
        assert lines[-1] == "cerebras today: 12 requests, 3,400 tokens; 82% of tokens a day, nearly used up"

    def test_a_failure_says_why(self, make_turn: MakeTurn) -> None:
        failed = make_turn(1, error=Failure("DeadlineError", "no answer within 4 s"))
        assert any("| DeadlineError: no answer within 4 s" in line for line in self.lines([TurnDone(failed)]))

    def test_ascii(self) -> None:
        assert self.lines([Note("déjà vu")], "ascii") == ["d?j? vu"]
