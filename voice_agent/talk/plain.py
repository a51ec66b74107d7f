"""Sinks without a terminal: plain lines, one for each entry, or one JSON object for each event."""

from __future__ import annotations

import json
from typing import TextIO

from ..budget.console_report import explain, plain_line
from ..budget.turn_verdict import Budget
from .events import CallStatus, Event, Progress, Ready, SoundLevel, to_json
from .screen_state import Entry, Follower, LedgerEntry, NoteEntry, SpeechEntry, TurnEntry
from .usage import in_words


class PlainSink:
    """Plain lines for pipes and log files: nothing is drawn twice, nothing is provisional."""

    def __init__(self, out: TextIO, budget: Budget) -> None:
        self._out = out
        self._follower = Follower(budget)

    def take(self, at_s: float, event: Event) -> None:
        """Print the entries that ``event`` adds."""
        match event:
            case Progress(text):
                self._print(f"{text} ...")
            case Ready():
                simulated = f" (simulated: {', '.join(event.simulated)})" if event.simulated else ""
                device = f"; {event.device}" if event.device else ""
                self._print(
                    f"ready: {event.model} at {event.provider}{simulated},"
                    f" Whisper {event.stt_model}, {event.voice}{device}"
                )
        for entry in self._follower.take(event):
            self._print(self._line(entry))

    def tick(self) -> None:
        """Do nothing: plain output has no live part."""

    def close(self) -> None:
        """Print the figures of the call."""
        state = self._follower.state
        if state.summary.turns:
            self._print(str(state.summary))
        for usage in state.usage:
            self._print(in_words(usage))

    def _line(self, entry: Entry) -> str:
        match entry:
            case NoteEntry(text):
                return text
            case SpeechEntry(text):
                return f'agent: "{text}"'
            case LedgerEntry(turn):
                return "no turn yet" if turn is None else explain(turn, self._follower.budget)
            case TurnEntry(turn, verdict, _):
                return plain_line(turn, verdict) + (f" | {turn.error}" if turn.error is not None else "")

    def _print(self, text: str) -> None:
        lines = ("".join(c if c.isprintable() else " " for c in line) for line in text.splitlines())
        encoding = self._out.encoding or "utf-8"
        print("\n".join(lines).encode(encoding, "replace").decode(encoding), file=self._out, flush=True)


class JsonSink:
    """One JSON object a line (keys: docs/talk.md). A state that does not change is not repeated."""

    def __init__(self, out: TextIO, budget: Budget) -> None:
        self._out = out
        self._budget = budget
        self._xruns = (0, 0)
        self._status: CallStatus | None = None

    def take(self, at_s: float, event: Event) -> None:
        """Print ``event``, unless only a screen needs it."""
        if isinstance(event, SoundLevel):
            if (event.input_xruns, event.output_xruns) == self._xruns:
                return
            self._xruns = (event.input_xruns, event.output_xruns)
        if isinstance(event, CallStatus):
            if event == self._status:
                return
            self._status = event
        if (row := to_json(event, at_s, self._budget)) is not None:
            print(json.dumps(row, allow_nan=False), file=self._out, flush=True)  # ASCII: fits any encoding

    def tick(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: every event is printed already."""
