"""A :class:`~.screen_state.ScreenState` as text: the live part of the screen and its entries. Pure; 80 columns.

Colour adds no information: every state and stage has a word or letter, and provisional words end in ``..``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text

from ..budget.console_report import explain, legend, turn_line
from ..budget.ledger import Turn
from ..budget.turn_verdict import Budget
from .events import UsageState
from .screen_state import SILENT_DBFS, Entry, LedgerEntry, NoteEntry, ScreenState, SpeechEntry, TurnEntry
from .usage import in_words

KEYS = (("space", "mute"), ("i", "interrupt"), ("r", "repeat"), ("b", "ledger"), ("q", "quit"))
TYPE_HINT = "/ or type, Enter sends"
METER_CELLS = 20
LIVE_LINES = 2  # for the words of each side
_LABEL = 7  # cells: "agent  "
_STYLE = {"listening": "green", "hearing": "cyan", "thinking": "magenta", "speaking": "yellow"}
_USED: dict[UsageState, str] = {"ok": "dim", "warn": "bold yellow", "full": "bold red"}


@dataclass(frozen=True, slots=True)
class View:
    """The live part: words, state and level, figures, models, and one line with the keys or the typed line."""

    state: ScreenState

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state, columns, ascii_only = self.state, options.max_width, options.ascii_only
        yield Text(("-" if ascii_only else "─") * columns, "dim")
        if state.user_text:
            style = "" if state.user_final else "dim italic"
            text = clean(state.user_text, console) + ("" if state.user_final else " ..")
            yield _words("you", text, style, console, columns, LIVE_LINES)
        if state.agent_text:
            yield _words("agent", clean(state.agent_text, console), "bold", console, columns, LIVE_LINES)
        used = [Text(clean(in_words(usage), console), _USED[usage.state]) for usage in state.usage]
        for line in (_status(state, ascii_only), _figures(state), _models(state), *used, _footer(state, console)):
            if line.plain:
                line.no_wrap, line.overflow = True, "crop"
                yield line


def entry_lines(entry: Entry, budget: Budget, console: Console) -> Group:
    """An entry as it is printed above the live part. A turn: its words and its bar; the first one with the legend."""
    columns = console.width
    match entry:
        case NoteEntry(text):
            return Group(Text(clean(text, console), "dim"))
        case SpeechEntry(text):
            return Group(_words("agent", clean(text, console), "bold", console, columns))
        case LedgerEntry(turn):
            if turn is None:
                return Group(Text("no turn yet: say something", "dim"))
            text = "\n".join(clean(line, console) for line in explain(turn, budget).splitlines())
            return Group(Text(text))
        case TurnEntry(turn, verdict, first):
            lines = [legend(budget, columns)] if first else []
            lines += _conversation(turn, console)
            bare = dataclasses.replace(turn, user_text="", agent_text="")
            bar = turn_line(bare, verdict, budget, columns)
            bar.rstrip()
            bar.no_wrap, bar.overflow = True, "crop"
            lines.append(bar)
            if turn.error is not None:
                lines.append(Text(f"    {clean(str(turn.error), console)}", "red"))
            return Group(*lines)


def meter(level_dbfs: float, cells: int = METER_CELLS, ascii_only: bool = False) -> str:
    """A bar from -60 dBFS (empty) to 0 (full)."""
    full = round(max(0.0, min(1.0, 1 - level_dbfs / SILENT_DBFS)) * cells)
    on, off = ("#", ".") if ascii_only else ("█", "░")
    return on * full + off * (cells - full)


def clean(text: str, console: Console) -> str:
    """``text`` without control characters and without letters that the console's encoding lacks."""
    visible = "".join(character if character.isprintable() else " " for character in text)
    return visible.encode(console.encoding, "replace").decode(console.encoding)


def _conversation(turn: Turn, console: Console) -> list[Text]:
    lines = []
    if turn.user_text:
        lines.append(_words("you", clean(turn.user_text, console), "", console, console.width))
    if turn.agent_text:
        broken = " --" if turn.interrupted else ""
        lines.append(_words("agent", clean(turn.agent_text, console) + broken, "bold", console, console.width))
    return lines


def _words(who: str, text: str, style: str, console: Console, columns: int, lines: int | None = None) -> Text:
    """The speaker and the wrapped words beside it; at most the last ``lines`` lines (the live part must not grow)."""
    wrapped = [line.plain.rstrip() for line in Text(text).wrap(console, max(1, columns - _LABEL))]
    if lines is not None and len(wrapped) > lines:
        wrapped = wrapped[-lines:]
    return Text.assemble((f"{who:<{_LABEL}}", "dim"), (("\n" + " " * _LABEL).join(wrapped), style))


def _status(state: ScreenState, ascii_only: bool) -> Text:
    if state.progress is not None:
        dots = "." * (1 + state.ticks // 3 % 3)
        return Text.assemble(("setting up ", "bold"), state.progress, dots)
    mark = "*" if ascii_only else "●"
    name = "muted" if state.muted and state.status in ("listening", "hearing") else state.status
    line = Text.assemble((f"{mark} {name:<10}", f"bold {_STYLE.get(name, 'red')}"))
    if state.muted and name != "muted":
        line.append("(muted) ", "red")
    level = SILENT_DBFS if state.muted else state.level_dbfs
    shown = f"{level:4.0f} dB" if level > SILENT_DBFS else " silent"
    loud = level > -3.0
    line.append("mic " + meter(level, ascii_only=ascii_only), "red" if loud else "green" if level > -40 else "dim")
    line.append(shown, "bold red" if loud else "dim")
    if state.input_xruns or state.output_xruns:
        line.append(f"  xruns in {state.input_xruns} out {state.output_xruns}", "bold red")
    return line


def _figures(state: ScreenState) -> Text:
    return Text(state.summary.headline(), "bold") if state.summary.turns else Text()


def _models(state: ScreenState) -> Text:
    if (ready := state.ready) is None:
        return Text()
    made = f"{ready.model} at {ready.provider}"
    if ready.simulated and "simulated" not in made.casefold():
        made = f"SIMULATED {made}"
    rest = f", {ready.stt_model}, {ready.voice}"
    if ready.input_latency_ms is not None and ready.output_latency_ms is not None:
        rest += f", sound {ready.input_latency_ms:.0f} + {ready.output_latency_ms:.0f} ms"
    return Text.assemble((made, "bold yellow" if ready.simulated else "dim"), (rest, "dim"))


def _footer(state: ScreenState, console: Console) -> Text:
    if state.typing is not None:
        hint = "   Enter sends, Esc clears"
        room = max(10, console.width - len(hint) - 3)
        line = clean(state.typing, console)[-room:]
        return Text.assemble(("> ", "bold"), line, ("_", "blink"), (hint, "dim"))
    keys = [Text.assemble((key, "bold"), f" {what}") for key, what in KEYS]
    return Text("  ").join([*keys, Text(TYPE_HINT, "dim")])
