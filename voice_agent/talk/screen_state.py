"""What the screen shows, as a frozen value, and how each event changes it. Pure: no terminal, no clock."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from ..budget.ledger import Turn
from ..budget.stats import SessionStats, Summary
from ..budget.turn_verdict import Budget, Verdict, verdict
from .events import (
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
    StateName,
    TurnDone,
    Typing,
    UserWords,
)

SILENT_DBFS = -60.0  # the meter's lower end


@dataclass(frozen=True, slots=True)
class ScreenState:
    """The live part of the screen. ``agent_text``: the words of the current speech that have been heard."""

    progress: str | None = "starting"
    ticks: int = 0
    ready: Ready | None = None
    status: StateName = "listening"
    muted: bool = False
    level_dbfs: float = SILENT_DBFS
    input_xruns: int = 0
    output_xruns: int = 0
    user_text: str = ""
    user_final: bool = False
    agent_text: str = ""
    typing: str | None = None
    usage: tuple[ProviderUsage, ...] = ()
    summary: Summary = field(default_factory=lambda: SessionStats().summary())


@dataclass(frozen=True, slots=True)
class NoteEntry:
    """A note for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class SpeechEntry:
    """Words of the agent that belong to no turn: a greeting, an apology, a repetition."""

    text: str


@dataclass(frozen=True, slots=True)
class TurnEntry:
    """A finished turn. ``first``: it is the first one of this call."""

    turn: Turn
    verdict: Verdict
    first: bool


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """The full ledger of a turn, on the user's request; None: there is no turn yet."""

    turn: Turn | None


Entry = NoteEntry | SpeechEntry | TurnEntry | LedgerEntry


class Follower:
    """Follows the events of a call. :attr:`state`: the live part; :meth:`take` returns the entries to print."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.state = ScreenState()
        self.stats = SessionStats()
        self.last: Turn | None = None
        self._open = False  # the user's words are final, and their turn is not closed yet
        self._answers = False  # the current speech answers a turn
        self._speaking = False

    def take(self, event: Event) -> list[Entry]:
        """Update the state; returns the entries to print, in order."""
        match event:
            case Progress(text):
                self._set(progress=text)
            case Note(text):
                return [NoteEntry(text)]
            case Ready():
                self._set(ready=event, progress=None)
            case CallStatus(name):
                self._set(status=name)
            case Muted(on):
                self._set(muted=on)
            case UserWords(text, final, _):
                self._open |= final
                self._set(user_text=text, user_final=final)
            case AgentWords(text):
                self._say(text)
            case AgentFinished():
                return self._said()
            case TurnDone(turn):
                return [self._turn(turn)]
            case SoundLevel(level, lost_in, lost_out):
                self._set(level_dbfs=level, input_xruns=lost_in, output_xruns=lost_out)
            case ProviderUsage():
                others = (u for u in self.state.usage if u.provider != event.provider)
                self._set(usage=(*others, event))
            case Typing(line):
                self._set(typing=line)
            case ShowLedger():
                return [LedgerEntry(self.last)]
            case Ended():
                pass  # the user sees that the screen ends
        return []

    def tick(self) -> None:
        """Advance the animation of a slow step."""
        if self.state.progress is not None:
            self._set(ticks=self.state.ticks + 1)

    def _set(self, **changes: object) -> None:
        self.state = dataclasses.replace(self.state, **changes)  # type: ignore[arg-type]  # names of ScreenState's fields

    def _say(self, text: str) -> None:
        if not self._speaking:
            self._speaking, self._answers = True, self._open
            self._set(agent_text="")
        if self._open or not self._answers:  # else its turn is closed already, and its last words come late
            self._set(agent_text=self.state.agent_text + text)

    def _said(self) -> list[Entry]:
        text, answered = " ".join(self.state.agent_text.split()), self._answers
        was_speaking, self._speaking, self._answers = self._speaking, False, False
        if answered and self._open:
            return []  # the turn's entry holds the words
        self._set(agent_text="")
        return [] if answered or not was_speaking or not text else [SpeechEntry(text)]

    def _turn(self, turn: Turn) -> TurnEntry:
        rated = verdict(turn, self.budget)
        first = self.last is None
        self.last = turn
        self.stats.add(turn, rated)
        self._set(summary=self.stats.summary(), agent_text="")
        shown, said = " ".join(self.state.user_text.split()), " ".join(turn.user_text.split())
        if shown in said or said in shown:  # else the screen shows the words of the next turn already
            self._open = False
            if self.state.user_final:
                self._set(user_text="", user_final=False)
        return TurnEntry(turn, rated, first)
