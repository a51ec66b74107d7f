"""Turns on a terminal: one line a turn with a bar split by stage, and a footer with latency and cut-offs.

Fits 80 columns and works without colour: every stage has a letter, every label a word.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from types import TracebackType

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.style import Style
from rich.text import Text

from .ledger import Mark, Stage, Turn
from .path import NS_PER_MS
from .stats import SessionStats, Summary
from .turn_verdict import Budget, Verdict, verdict

_LETTER = {
    Stage.STT: "s",
    Stage.DISPATCH: "d",
    Stage.LLM: "l",
    Stage.CHUNK: "c",
    Stage.TTS: "t",
    Stage.ENDPOINTING: "e",
    Stage.OUTPUT: "o",
    Stage.UNATTRIBUTED: "?",
}
_COLOUR = {
    Stage.STT: "cyan",
    Stage.DISPATCH: "white",
    Stage.LLM: "magenta",
    Stage.CHUNK: "blue",
    Stage.TTS: "green",
    Stage.ENDPOINTING: "yellow",
    Stage.OUTPUT: "bright_black",
    Stage.UNATTRIBUTED: "bright_white",
}
_SCALE = 1.6
"""A bar's full width, in budgets: leaves room above the budget, and one scale for all bars."""


class ConsoleReport:
    """Writes each turn to ``console`` when it ends. On a terminal: bars, colours and a footer; otherwise plain lines.

    The footer is shown only inside the context manager, which removes it at its end. Colours follow ``NO_COLOR``.
    """

    def __init__(self, console: Console | None = None, budget: Budget | None = None) -> None:
        self.console = console or Console()
        self._budget = budget or Budget()
        self._stats = SessionStats()
        self._live: Live | None = None

    def __enter__(self) -> ConsoleReport:
        if self.console.is_terminal:
            self._live = Live(Text(), console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @property
    def stats(self) -> SessionStats:
        """The figures of the turns so far."""
        return self._stats

    def turn(self, turn: Turn) -> None:
        """Print one finished turn and update the footer."""
        judged = verdict(turn, self._budget)
        first = self._stats.summary().turns == 0
        self._stats.add(turn, judged)
        if not self.console.is_terminal:
            self.console.print(self._safe(plain_line(turn, judged)), soft_wrap=True, markup=False, highlight=False)
            return
        if first:
            self.console.print(legend(self._budget, self.console.width))
        self.console.print(turn_line(turn, judged, self._budget, self.console.width, self._safe), no_wrap=True)
        if self._live is not None:
            footer = Text(self._stats.summary().headline(), style="bold", no_wrap=True, overflow="crop")
            self._live.update(footer, refresh=True)

    def summary(self, summary: Summary | None = None) -> None:
        """Print a session's figures (default: of the turns printed here), with a line for each stage."""
        summary = summary or self._stats.summary()
        lines = [*textwrap.wrap(summary.headline(), self.console.width)]
        lines += [f"  {stage:<13}{spread}" for stage, spread in summary.stages.items()]
        if summary.turns:
            lines += textwrap.wrap(summary.details(), self.console.width)
        self.console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)

    def _safe(self, text: str) -> str:
        """``text`` without control characters and without characters that the console's encoding lacks."""
        visible = "".join(character if character.isprintable() else " " for character in text)
        encoding = self.console.encoding
        return visible.encode(encoding, "replace").decode(encoding)


def bar_width(columns: int) -> int:
    """Cells of a bar on a terminal of ``columns`` columns."""
    return max(12, min(48, columns * 3 // 10))


def bar(turn: Turn, judged: Verdict, budget: Budget, width: int) -> Text:
    """A bar of ``width`` cells: the letter of the stage for each piece of time, ``|`` at the budget, ``>`` if
    cropped."""
    scale_ns = budget.total_ms * NS_PER_MS * _SCALE
    text = Text()
    path = turn.path
    for step in path:
        # Both edges are rounded on the scale, so a piece's place does not depend on the pieces before it.
        begin, end = (
            min(width, round((ns - path[0].start_ns) / scale_ns * width)) for ns in (step.start_ns, step.end_ns)
        )
        guilty = step.stage == judged.guilty
        style = Style(color="white", bgcolor="red", bold=True) if guilty else Style(color=_COLOUR[step.stage])
        text.append(_LETTER[step.stage] * (end - begin), style)
    if (turn.voice_to_voice_ns or 0) > scale_ns:
        text.right_crop(1)
        text.append(">", Style(color="red", bold=True))
    text.append(" " * (width - len(text)))
    limit = min(width - 1, round(width / _SCALE))
    return Text.assemble(text[:limit], ("|", "bold red" if judged.over else "dim"), text[limit + 1 :])


def labels(turn: Turn, judged: Verdict) -> Text:
    """What went wrong in a turn, the worst first, and how it was made."""
    parts: list[tuple[str, str]] = []
    if turn.error is not None:
        parts.append((f"failed {turn.error.kind}", "bold red"))
    if turn.cut_off:
        parts.append(("cut off", "bold red"))
    if not turn.answered and turn.error is None:
        parts.append(("no answer", "bold red"))
    if judged.over and judged.guilty is not None:
        parts.append((f"{judged.guilty} +{judged.guilty_by_ms:.0f}", "red"))
    if turn.typed:
        waited = turn.after_enter_ms
        parts.append(("typed" if waited is None else f"{waited:.0f} ms from Enter", ""))
    parts += [(text, "cyan") for text in _degradation_steps(turn)]
    if turn.interrupted:
        parts.append(("interrupted", "yellow"))
    if turn.reopened:
        parts.append(("reopened", "yellow"))
    if turn.audio_gaps:
        parts.append((f"gaps {turn.audio_gaps}", "yellow"))
    if turn.simulated:
        parts.append((f"sim {'+'.join(turn.simulated)}", "dim"))
    return Text(", ").join(Text(*part) for part in parts)


def _degradation_steps(turn: Turn) -> list[str]:
    """The degradation steps of the turn, a few words each."""
    said = []
    if turn.acknowledged_ms is not None:
        said.append(f"first word {turn.acknowledged_ms:.0f} ms")
    for name, what in turn.degradation.items():
        if name == "hedge" and isinstance(what, dict):
            said.append("hedge won" if what.get("won") else "hedged")
        elif name == "degraded" and isinstance(what, list):
            said.append("degraded: " + " and ".join(map(str, what)))
        elif name != "acknowledge":
            said.append(name.replace("_", " "))
    return said


def turn_line(turn: Turn, judged: Verdict, budget: Budget, columns: int, safe: Callable[[str], str] = str) -> Text:
    """One turn in at most ``columns`` cells: number, total, bar, labels, and the two texts in the remaining cells."""
    total = turn.voice_to_voice_ms
    figure = f"{total:.0f} ms" if total is not None else f"-{turn.overlap_ms:.0f} ms" if turn.overlap_ms else "-- ms"
    silent = total is None and not (turn.typed and turn.answered)
    figure = "typed" if turn.typed else figure
    line = Text.assemble(
        f"{turn.id!s:>3} ",
        (f"{figure:>7} ", "bold red" if judged.over or silent else "bold"),
        bar(turn, judged, budget, bar_width(columns)),
        " ",
        labels(turn, judged),
    )
    if line.cell_len > columns:
        line.truncate(columns)
    room = columns - line.cell_len - 2
    if room >= 12:
        line.append("  ")
        line.append(_both(safe(turn.user_text), safe(turn.agent_text), room), "dim")
    return line


def plain_line(turn: Turn, judged: Verdict) -> str:
    """One turn for a log file, in words."""
    total = turn.voice_to_voice_ms
    parts = [f"turn {turn.id}", "no voice-to-voice time" if total is None else f"{total:.1f} ms"]
    if total is not None:
        parts.append(" ".join(f"{stage} {ms:.1f}" for stage, ms in turn.spans_ms.items() if ms))
    if judged.over:
        parts.append(f"over budget by {judged.over_by_ms:.1f} ms")
    if said := labels(turn, judged).plain:
        parts.append(said)
    parts.append(f'"{turn.user_text}" -> "{turn.agent_text}"')
    return " | ".join(parts)


def legend(budget: Budget, columns: int) -> Text:
    """The letters of a bar and its scale: two lines."""
    names = [
        Text.assemble((letter, Style(color=_COLOUR[stage], bold=True)), f" {stage}")
        for stage, letter in _LETTER.items()
    ]
    cell_ms = budget.total_ms * _SCALE / bar_width(columns)
    scale = Text(f"| budget {budget.total_ms:.0f} ms, > goes on; one letter is {cell_ms:.0f} ms", "dim")
    spread = Text("  ").join(names)
    return Text("\n").join((spread if spread.cell_len <= columns else Text(" ").join(names), scale))


def explain(turn: Turn, budget: Budget | None = None) -> str:
    """The whole ledger of a turn as text: marks by time, path, hidden work, speculation."""
    budget = budget or Budget()
    judged = verdict(turn, budget)
    total = turn.voice_to_voice_ms
    lines = [f"turn {turn.id}" + (f" ({turn.item})" if turn.item else "")]
    lines += [f"  user   {turn.user_text!r}", f"  agent  {turn.agent_text!r}"]
    if turn.error is not None:
        lines.append(f"  failed: {turn.error}")

    ended = turn.marks[Mark.SPEECH_ENDED]
    present = [(at, mark) for mark, at in turn.marks.items() if at is not None]
    order = list(Mark)
    present.sort(key=lambda entry: (entry[0], order.index(entry[1])))
    origin = ended if ended is not None else present[0][0] if present else 0.0
    lines.append("marks, in ms after " + ("the user's last sound" if ended is not None else "the first of them"))
    lines += [f"  {(at - origin) * 1000:+9.1f}  {mark}" for at, mark in present]
    if missing := [str(mark) for mark, at in turn.marks.items() if at is None]:
        lines.append(f"  did not happen: {', '.join(missing)}")

    if total is None:
        because = (
            f"the agent was audible {turn.overlap_ms:.1f} ms before the user had finished"
            if turn.overlap_ms
            else "it was typed"
            if turn.typed
            else "one of its two ends is missing"
        )
        lines.append(f"voice to voice: none; {because}")
    else:
        lines.append(f"voice to voice {total:.1f} ms, of a budget of {budget.total_ms:.0f} ms")
        if turn.acknowledged_ms is not None:
            word = turn.degradation.get("acknowledge", "")
            lines.append(f"an acknowledgement was heard after {turn.acknowledged_ms:.1f} ms: {word!r}")
        for step in turn.path:
            hidden = f"  and {step.hidden_ns / NS_PER_MS:.1f} hidden before it" if step.hidden_ns else ""
            if step.ns or step.hidden_ns:
                between = f"{step.start_mark} -> {step.end_mark}"
                lines.append(f"  {step.ns / NS_PER_MS:9.1f}  {step.stage:<13}{between}{hidden}")
    if judged.over:
        lines.append(
            f"over by {judged.over_by_ms:.1f} ms; guilty: {judged.guilty}, {judged.guilty_by_ms:.1f} ms over its share"
        )

    asked = turn.speculation
    lines.append(
        f"LLM requests {asked.requests}: {asked.used} sent before the end of turn and used,"
        f" {asked.thrown_away} thrown away, {asked.tokens_wasted} tokens wasted"
    )
    if turn.lead_ms is not None:
        when = "before" if turn.lead_ms >= 0 else "after"
        lines.append(f"the reply was requested {abs(turn.lead_ms):.1f} ms {when} the end of turn")
    facts = (turn.models.provider, turn.models.model, turn.models.stt_model, turn.models.voice)
    if any(facts):
        lines.append("made by " + ", ".join(fact for fact in facts if fact))
    if flags := labels(turn, Verdict(None)).plain:
        lines.append(flags)
    return "\n".join(lines)


def _both(user: str, agent: str, room: int) -> str:
    """Both texts in ``room`` cells: the longer one gets the cells that the shorter one does not need."""
    user, agent = " ".join(user.split()), " ".join(agent.split())
    arrow = " > "
    half = (room - len(arrow)) // 2
    rest = room - len(arrow)
    user_room = max(half, rest - cell_len(agent))
    shown = _trim(user, user_room)
    return shown + arrow + _trim(agent, rest - cell_len(shown)) if agent else _trim(user, room)


def _trim(text: str, room: int) -> str:
    return text if cell_len(text) <= room else set_cell_size(text, max(0, room - 2)).rstrip() + ".."
