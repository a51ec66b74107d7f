from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from voice_agent.budget import Budget, Failure, Mark, Speculation, Stage, Turn, verdict
from voice_agent.budget.console_report import ConsoleReport, bar, bar_width, explain, legend, turn_line

MakeTurn = Callable[..., Turn]

GOOD = {
    "speech_ended": 0, "transcript_ready": 60, "llm_requested": 62, "llm_first_content": 162, "chunk_ready": 170,
    "tts_first_audio": 200, "turn_committed": 250, "first_audible": 262,
}  # fmt: skip
SLOW_MODEL = GOOD | {"llm_first_content": 562, "chunk_ready": 570, "tts_first_audio": 600, "first_audible": 612}


def console(width: int = 80, *, terminal: bool = True, **options: Any) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, force_terminal=terminal, color_system="truecolor", **options), out


@pytest.fixture
def turns(make_turn: MakeTurn) -> list[Turn]:
    long = "Could you please tell me what on earth the time is in Tokyo at the moment?"
    return [
        make_turn(GOOD, id=1, user_text=long, agent_text="It is nine in the evening there, give or take."),
        make_turn(SLOW_MODEL, id=2, user_text=long, agent_text="Nine.", interrupted=True, simulated=["llm"]),
        make_turn({"speech_ended": 0, "turn_committed": 300}, id=3, user_text="東京は今何時ですか" * 9),
        make_turn(GOOD | {"first_audible": -90}, id=4, user_text="[red]I wanted to \x1b[31m[/red]", agent_text="Yes?"),
        make_turn(GOOD, id=5, error=Failure("RateLimitedError", "wait 3 s"), user_text=long, agent_text=long),
        make_turn({"speech_ended": 0, "first_audible": 9_000}, id=123456789, audio_gaps=3, reopened=True),
    ]


@pytest.mark.parametrize("width", [30, 80, 200])
def test_one_line_a_turn_at_any_width(turns: list[Turn], width: int) -> None:
    screen, out = console(width, no_color=True)
    report = ConsoleReport(screen)
    for turn in turns:
        out.truncate(0)
        out.seek(0)
        report.turn(turn)
        printed = [line for line in _plain(out.getvalue()).splitlines() if line]
        assert f"{turn.id!s:>3} " in printed[-1]
        assert cell_len(printed[-1]) <= width
        if turn is not turns[0]:
            assert len(printed) == 1  # only the first is preceded by the legend


def _plain(text: str) -> str:
    """Without the terminal's escape sequences."""
    return Text.from_ansi(text).plain


def test_what_a_line_says(turns: list[Turn]) -> None:
    lines = [turn_line(turn, verdict(turn, Budget()), Budget(), 110).plain for turn in turns]
    assert "262 ms" in lines[0]
    assert "Could you" in lines[0]
    assert "It is nine" in lines[0]
    assert "llm +300, interrupted, sim llm" in lines[1]
    assert "no answer" in lines[2]
    assert "-90 ms" in lines[3]
    assert "cut off" in lines[3]
    assert "failed RateLimitedError" in lines[4]
    assert "unattributed +9000, reopened, gaps 3" in lines[5]


def test_bars_share_one_scale_and_mark_the_budget(turns: list[Turn]) -> None:
    width = 32  # 800 ms: a letter is 25 ms, the budget of 500 ms stands at the 20th
    bars = [bar(turn, verdict(turn, Budget()), Budget(), width) for turn in turns]
    assert {len(each) for each in bars} == {width}
    assert {each.plain[20] for each in bars} == {"|"}
    assert bars[0].plain == "ssllllctee" + " " * 10 + "|" + " " * 11
    assert bars[1].plain == "ss" + "l" * 18 + "|" + "lct" + " " * 8
    assert bars[2].plain.strip() == "|"  # without an answer there is nothing to draw
    assert bars[5].plain == "?" * 20 + "|" + "?" * 10 + ">"


def test_only_the_guilty_stage_of_a_late_turn_is_alarming(turns: list[Turn]) -> None:
    def alarmed(turn: Turn) -> set[str]:
        drawn = bar(turn, verdict(turn, Budget()), Budget(), 32)
        return {
            drawn.plain[i] for i in range(32) if (drawn.get_style_at_offset(Console(), i).bgcolor or None) is not None
        }

    assert alarmed(turns[0]) == set()
    assert alarmed(turns[1]) == {"l"}


def test_texts_cannot_style_or_move_the_terminal(turns: list[Turn]) -> None:
    for terminal in (True, False):
        screen, out = console(120, terminal=terminal, no_color=True)
        ConsoleReport(screen).turn(turns[3])
        assert "[red]I wanted to" in _plain(out.getvalue())
        assert "\x1b[31m" not in out.getvalue()


def test_no_color_leaves_letters_and_no_colours(turns: list[Turn], monkeypatch: pytest.MonkeyPatch) -> None:
    def printed() -> str:
        screen, out = console()
        ConsoleReport(screen).turn(turns[1])
        return out.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;37;41m" in printed()  # bold, white on red
    monkeypatch.setenv("NO_COLOR", "1")
    assert "41m" not in printed()
    assert "lllll" in printed()


def test_the_footer_stays_and_has_cut_offs_beside_latency(turns: list[Turn]) -> None:
    screen, out = console(no_color=True)
    with ConsoleReport(screen) as report:
        for turn in turns[:4]:
            report.turn(turn)
        assert "P50 437  P95 594  max 612 ms (n = 2), cut off 1 of 4 (25%)" in _plain(out.getvalue())
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1  # the cursor is back


def test_plain_lines_when_it_is_no_terminal(turns: list[Turn]) -> None:
    screen, out = console(40, terminal=False)
    with ConsoleReport(screen) as report:
        for turn in turns:
            report.turn(turn)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(turns)  # not folded at 40 columns, no legend, no footer
    assert "\x1b" not in out.getvalue()
    assert lines[0].startswith(
        "turn 1 | 262.0 ms | stt 60.0 dispatch 2.0 llm 100.0 chunk 8.0 tts 30.0 endpointing 50.0"
    )
    assert "over budget by 112.0 ms | llm +300" in lines[1]
    assert '"Could you please' in lines[0]


def test_a_console_without_unicode(turns: list[Turn]) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    report = ConsoleReport(Console(file=out, width=80, force_terminal=True))
    for turn in turns:
        report.turn(turn)
    report.summary()
    out.flush()
    assert raw.getvalue().decode("ascii").count(" ms") >= len(turns)


def test_summary_fits_and_lists_every_stage(turns: list[Turn]) -> None:
    screen, out = console(no_color=True)
    report = ConsoleReport(screen)
    for turn in turns:
        report.turn(turn)
    out.truncate(0)
    out.seek(0)
    report.summary()
    lines = _plain(out.getvalue()).splitlines()
    assert max(map(len, lines)) <= 80
    assert "cut off 1 of 6" in lines[0]
    assert "P50" in lines[0]
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [str(stage) for stage in Stage]
    assert report.stats.summary().failed == 1


def test_an_empty_session_says_so() -> None:
    screen, out = console()
    ConsoleReport(screen).summary()
    assert out.getvalue().strip() == "no turns yet"


@pytest.mark.parametrize(("columns", "cells"), [(20, 12), (80, 24), (120, 36), (400, 48)])
def test_bar_width(columns: int, cells: int) -> None:
    assert bar_width(columns) == cells


def test_explain_tells_the_whole_turn(make_turn: MakeTurn) -> None:
    marks = SLOW_MODEL | {"transcript_ready": -140, "llm_requested": -100}
    text = explain(make_turn(marks, id=9, item="a.wav", speculation=Speculation(3, 1, 2, 41)))
    lines = text.splitlines()
    assert lines[0] == "turn 9 (a.wav)"
    timed = [line.split() for line in lines if line.startswith(("       +", "     +", "     -", "      +"))]
    assert [name for _, name in timed] == [
        "transcript_ready", "llm_requested", "speech_ended", "turn_committed", "llm_first_content", "chunk_ready",
        "tts_first_audio", "first_audible",
    ]  # fmt: skip
    assert timed[0][0] == "-140.0"
    assert "voice to voice 612.0 ms, of a budget of 500 ms" in text
    assert any("562.0  llm " in line and line.endswith("and 100.0 hidden before it") for line in lines)
    assert "guilty: llm, 362.0 ms over its share" in text
    assert "3: 1 sent before the end of turn and used, 2 thrown away, 41 tokens wasted" in text
    assert "350.0 ms before the end of turn" in text


def test_the_page_shows_what_is_printed(make_turn: MakeTurn) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")
    turn = make_turn(
        SLOW_MODEL | {"transcript_ready": -140, "llm_requested": -100},
        id=9,
        item="a.wav",
        user_text="What time is it in Tokyo?",
        agent_text="It is nine in the evening there.",
        speculation=Speculation(3, 1, 2, 41),
    )
    assert explain(turn) in page
    assert legend(Budget(), 80).plain in page
    assert turn_line(turn, verdict(turn, Budget()), Budget(), 80).plain in page


@pytest.mark.parametrize(
    ("marks", "attributes", "says"),
    [
        ({}, {}, "one of its two ends is missing"),
        ({"first_audible": 3}, {}, "the first of them"),
        ({"speech_ended": 0, "first_audible": -20}, {}, "audible 20.0 ms before the user had finished"),
        ({"speech_ended": 0}, {"error": Failure("DeadlineError", "4 s")}, "failed: DeadlineError: 4 s"),
        (GOOD | {"llm_requested": 230}, {}, "20.0 ms before the end of turn"),
        ({"turn_committed": 200, "llm_requested": 230}, {}, "30.0 ms after the end of turn"),
    ],
)
def test_explain_has_words_for_odd_turns(
    make_turn: MakeTurn, marks: dict[str, float], attributes: dict[str, Any], says: str
) -> None:
    assert says in explain(make_turn(marks, **attributes))
    assert explain(make_turn(marks)).count(str(Mark.CHUNK_READY)) >= 1
