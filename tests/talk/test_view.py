"""What a state looks like: text, at 80 columns, with and without colour. Nothing is drawn; nothing is timed."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable

import pytest
from rich.console import Console

from voice_agent.budget.console_report import bar, bar_width
from voice_agent.budget.ledger import Failure, Turn
from voice_agent.budget.stats import SessionStats
from voice_agent.budget.turn_verdict import Budget, verdict
from voice_agent.talk.events import Ready, StateName
from voice_agent.talk.screen_state import LedgerEntry, NoteEntry, ScreenState, SpeechEntry, TurnEntry
from voice_agent.talk.view import View, entry_lines, meter

READY = Ready("llama-3.3-70b", "Cerebras", "tiny.en", "en_US-joe-medium")
TALKING = ScreenState(progress=None, ready=READY)
MakeTurn = Callable[..., Turn]


def console(columns: int = 80, *, colour: bool = False, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, width=columns, force_terminal=True, no_color=not colour, color_system="256")


def shown(what: object, columns: int = 80, *, encoding: str = "utf-8") -> list[str]:
    c = console(columns, encoding=encoding)
    with c.capture() as captured:
        c.print(what)
    return [line.rstrip() for line in captured.get().splitlines()]


def plain(what: object, columns: int = 80, *, encoding: str = "utf-8") -> list[str]:
    """Without bold and dim as well."""
    c = console(columns, encoding=encoding)
    lines = c.render_lines(what, c.options, pad=False)  # type: ignore[arg-type]
    return ["".join(segment.text for segment in line if not segment.control).rstrip() for line in lines]


def entry(what: object, columns: int = 80, budget: Budget | None = None) -> list[str]:
    c = console(columns)
    return plain(entry_lines(what, budget or Budget(), c), columns)  # type: ignore[arg-type]


class TestLivePart:
    def test_setting_up(self) -> None:
        lines = plain(View(ScreenState(progress="loading Whisper tiny.en", ticks=3)))
        assert lines == [
            "─" * 80,
            "setting up loading Whisper tiny.en..",
            "space mute  i interrupt  r repeat  b ledger  q quit  / or type, Enter sends",
        ]

    def test_listening(self) -> None:
        assert plain(View(dataclasses.replace(TALKING, level_dbfs=-30.0))) == [
            "─" * 80,
            "● listening mic ██████████░░░░░░░░░░ -30 dB",
            "llama-3.3-70b at Cerebras, tiny.en, en_US-joe-medium",
            "space mute  i interrupt  r repeat  b ledger  q quit  / or type, Enter sends",
        ]

    def test_provisional_words_are_marked_also_without_colour(self) -> None:
        hearing = dataclasses.replace(TALKING, status="hearing", user_text="what is the wea")
        assert "you    what is the wea .." in plain(View(hearing))
        assert "you    what is the weather" in plain(
            View(dataclasses.replace(hearing, user_text="what is the weather", user_final=True))
        )

    def test_words_as_they_are_spoken_keep_to_two_lines(self) -> None:
        words = " ".join(f"word{n}" for n in range(60))
        lines = plain(View(dataclasses.replace(TALKING, status="speaking", agent_text=words)))
        said = [line for line in lines if "word" in line]
        assert len(said) == 2
        assert said[0].startswith("agent  word")
        assert said[1].startswith("       word")
        assert said[1].endswith("word59")

    @pytest.mark.parametrize("name", ["listening", "hearing", "thinking", "speaking"])
    def test_every_state_has_its_word(self, name: StateName) -> None:
        assert f"● {name}" in plain(View(dataclasses.replace(TALKING, status=name)))[1]

    def test_muted(self) -> None:
        muted = dataclasses.replace(TALKING, muted=True, level_dbfs=-12.0)
        assert plain(View(muted))[1] == "● muted     mic ░░░░░░░░░░░░░░░░░░░░ silent"
        assert "speaking  (muted)" in plain(View(dataclasses.replace(muted, status="speaking")))[1]

    def test_lost_sound_is_shown_only_if_there_is_any(self) -> None:
        assert "xruns" not in plain(View(TALKING))[1]
        assert plain(View(dataclasses.replace(TALKING, input_xruns=2)))[1].endswith("xruns in 2 out 0")

    def test_simulated_is_said(self) -> None:
        ready = dataclasses.replace(READY, simulated=("language model",))
        assert "SIMULATED llama" in "\n".join(plain(View(dataclasses.replace(TALKING, ready=ready))))

    def test_the_devices_latency(self) -> None:
        ready = dataclasses.replace(READY, input_latency_ms=36.0, output_latency_ms=19.6)
        lines = plain(View(dataclasses.replace(TALKING, ready=ready)))
        assert "llama-3.3-70b at Cerebras, tiny.en, en_US-joe-medium, sound 36 + 20 ms" in lines

    def test_a_line_that_is_typed_takes_the_place_of_the_keys(self) -> None:
        lines = plain(View(dataclasses.replace(TALKING, typing="tell me")))
        assert lines[-1] == "> tell me_   Enter sends, Esc clears"
        long = plain(View(dataclasses.replace(TALKING, typing="x" * 200 + "end")))[-1]
        assert "end_" in long
        assert len(long) <= 80

    def test_figures_never_without_the_cut_offs(self, make_turn: MakeTurn) -> None:
        stats = SessionStats()
        for number, ms in ((1, 300.0), (2, 600.0)):
            turn = make_turn(number, ms)
            stats.add(turn, verdict(turn, Budget()))
        lines = plain(View(dataclasses.replace(TALKING, summary=stats.summary())))
        assert "P50 450  P95 585  max 600 ms (n = 2), cut off 0 of 2 (0%)" in lines

    @pytest.mark.parametrize("columns", [20, 40, 80, 200])
    def test_no_line_is_wider_than_the_screen(self, columns: int) -> None:
        state = dataclasses.replace(
            TALKING, user_text="so " * 90, agent_text="well " * 90, input_xruns=99, output_xruns=99, typing=None
        )
        assert all(len(line) <= columns for line in plain(View(state), columns))

    def test_a_terminal_that_knows_ascii_only(self) -> None:
        state = dataclasses.replace(TALKING, user_text="déjà vu", user_final=True, level_dbfs=-30.0)
        text = "\n".join(plain(View(state), encoding="ascii"))
        assert text.isascii()
        assert "* listening" in text
        assert "##########" in text
        assert "d?j? vu" in text

    def test_control_characters_do_not_reach_the_terminal(self) -> None:
        state = dataclasses.replace(TALKING, user_text="a\x1b[2Jb\rc", typing="\x1b]0;title\x07")
        text = "\n".join(plain(View(state)))
        assert "\x1b" not in text
        assert "\x07" not in text

    def test_markup_is_text(self) -> None:
        assert "you    [red]no[/red]" in plain(
            View(dataclasses.replace(TALKING, user_text="[red]no[/red]", user_final=True))
        )

    def test_no_color(self) -> None:
        text = "\n".join(shown(View(dataclasses.replace(TALKING, level_dbfs=-1.0, user_text="so"))))
        assert not any(f"\x1b[{code}m" in text or f";{code}m" in text for code in range(30, 50))


def test_meter() -> None:
    assert [meter(level, 10, ascii_only=True) for level in (-96.0, -60.0, -30.0, 0.0, 3.0)] == [
        "..........", "..........", "#####.....", "##########", "##########",
    ]  # fmt: skip


class TestEntries:
    def test_a_turn(self, make_turn: MakeTurn) -> None:
        turn = make_turn(3)
        assert entry(TurnEntry(turn, verdict(turn, Budget()), False)) == [
            "you    What time is it?",
            "agent  It is nine in the evening.",
            f"  3  320 ms {drawn(turn)}",
        ]

    def test_the_first_turn_explains_the_letters(self, make_turn: MakeTurn) -> None:
        turn = make_turn(1)
        lines = entry(TurnEntry(turn, verdict(turn, Budget()), True))
        assert lines[0].startswith("s stt d dispatch l llm")
        assert lines[0].endswith("? unattributed")
        assert lines[1].startswith("| budget 500 ms")

    def test_over_budget_names_the_guilty(self, make_turn: MakeTurn) -> None:
        turn = make_turn(1, 900.0)
        line = entry(TurnEntry(turn, verdict(turn, Budget()), False))[-1]
        assert "900 ms" in line
        assert "llm +540" in line

    def test_guilty_is_in_colour(self, make_turn: MakeTurn) -> None:
        turn = make_turn(1, 900.0)
        c = console(colour=True)
        with c.capture() as captured:
            c.print(entry_lines(TurnEntry(turn, verdict(turn, Budget()), False), Budget(), c))
        assert "\x1b[1;37;41ml" in captured.get()

    def test_long_words_hang_below_each_other(self, make_turn: MakeTurn) -> None:
        turn = make_turn(1, agent_text="well " * 40)
        lines = entry(TurnEntry(turn, verdict(turn, Budget()), False))
        assert len(lines) > 4
        assert all(line.startswith("       well") for line in lines[2:-1])
        assert all(len(line) <= 80 for line in lines)

    def test_typed(self, make_typed_turn: MakeTurn) -> None:
        turn = make_typed_turn(4)
        line = entry(TurnEntry(turn, verdict(turn, Budget()), False))[-1]
        assert line.startswith("  4   typed ")
        assert "250 ms from Enter" in line

    def test_failed(self, make_turn: MakeTurn) -> None:
        turn = make_turn(1, error=Failure("DeadlineError", "no answer within 4 s"), agent_text="")
        lines = entry(TurnEntry(turn, verdict(turn, Budget()), False))
        assert "failed DeadlineError" in lines[-2]
        assert lines[-1] == "    DeadlineError: no answer within 4 s"

    def test_interrupted(self, make_turn: MakeTurn) -> None:
        turn = make_turn(1, interrupted=True, agent_text="It is")
        assert "agent  It is --" in entry(TurnEntry(turn, verdict(turn, Budget()), False))

    def test_the_full_ledger(self, make_turn: MakeTurn) -> None:
        text = "\n".join(entry(LedgerEntry(make_turn(1))))
        assert "voice to voice 320.0 ms, of a budget of 500 ms" in text
        assert "no turn yet" in entry(LedgerEntry(None))[0]

    def test_others(self) -> None:
        assert entry(NoteEntry("microphone gone")) == ["microphone gone"]
        assert entry(SpeechEntry("Hello there.")) == ["agent  Hello there."]


def drawn(turn: Turn) -> str:
    """The bar as the report draws it; tests/budget/test_report.py looks at its letters."""
    return bar(turn, verdict(turn, Budget()), Budget(), bar_width(80)).plain.rstrip()
