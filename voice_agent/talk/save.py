"""``--save DIR``: the recording, the ledger rows and a transcript, all written while the call goes on.

``microphone/call_recording.py`` writes ``conversation.wav`` (left the user, right the agent); this module writes
``turns.jsonl`` and ``transcript.md`` turn by turn. If the process is killed, all files are readable up to its last
second or turn.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TextIO

from ..budget.export import JsonlWriter
from ..budget.ledger import Turn
from ..budget.turn_verdict import Budget
from ..clock import SYSTEM, Clock
from ..errors import UsageError
from .events import Event, Ready
from .screen_state import Entry, Follower, LedgerEntry, NoteEntry, SpeechEntry, TurnEntry

RECORDING, ROWS, TRANSCRIPT = "conversation.wav", "turns.jsonl", "transcript.md"
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~])")


class Saved:
    """A folder for one conversation. Raises UsageError if it holds one already, or cannot be written."""

    def __init__(self, folder: Path, budget: Budget, clock: Clock = SYSTEM) -> None:
        self.folder = folder
        there = [name for name in (RECORDING, ROWS, TRANSCRIPT) if (folder / name).exists()]
        if there:
            raise UsageError(f"--save {folder}: holds a conversation already ({', '.join(there)}); name another folder")
        self._clock = clock
        self._follower = Follower(budget)
        self._rows = JsonlWriter(folder / ROWS, budget)  # creates the folder
        try:
            self._page: TextIO = (folder / TRANSCRIPT).open("w", encoding="utf-8", errors="replace")
        except OSError as e:
            self._rows.close()
            raise UsageError(f"--save {folder}: cannot be written ({e.strerror}); name a folder of yours") from e

    @property
    def recording(self) -> Path:
        """The path of the recording."""
        return self.folder / RECORDING

    def take(self, event: Event) -> None:
        """Write what ``event`` adds. Raises UsageError or OSError if it cannot."""
        if isinstance(event, Ready):
            self._begin(event)
        for entry in self._follower.take(event):
            self._entry(entry)

    def close(self) -> None:
        """Write the figures and close the files; more than once does nothing."""
        if self._page.closed:
            return
        state = self._follower.state
        summary = state.summary
        if state.input_xruns or state.output_xruns:
            self._write(
                f"Sound was lost {state.input_xruns} times at the microphone,"
                f" {state.output_xruns} times at the loudspeaker.\n\n"
            )
        if summary.turns:
            self._write(f"---\n\n{_plain(summary.headline())}. {_plain(summary.details()).capitalize()}.\n")
        self._page.close()
        self._rows.close()

    def _begin(self, ready: Ready) -> None:
        began = datetime.fromtimestamp(self._clock.wall()).astimezone()
        simulated = f" **Simulated: {_plain(', '.join(ready.simulated))}.**" if ready.simulated else ""
        self._write(
            f"# Conversation, {began:%Y-%m-%d %H:%M}\n\n"
            f"{_plain(ready.model)} at {_plain(ready.provider)}, Whisper {_plain(ready.stt_model)},"
            f" voice {_plain(ready.voice)}.{simulated} Sound: `{RECORDING}` (left you, right the agent);"
            f" every turn in full: `{ROWS}`.\n\n"
        )
        if ready.input_latency_ms is not None and ready.output_latency_ms is not None:
            self._write(
                f"{_plain(ready.device)}; latency as reported: input {ready.input_latency_ms:.0f} ms,"
                f" output {ready.output_latency_ms:.0f} ms.\n\n"
            )

    def _entry(self, entry: Entry) -> None:
        match entry:
            case TurnEntry(turn):
                self._rows.write(turn)
                self._write(_markdown(turn))
            case SpeechEntry(text):
                self._write(f"**Agent:** {_plain(text)}\n\n")
            case NoteEntry(text):
                self._write(f"> {_plain(text)}\n\n")
            case LedgerEntry():
                pass

    def _write(self, text: str) -> None:
        self._page.write(text)
        self._page.flush()


def _markdown(turn: Turn) -> str:
    """One turn as Markdown: both texts, then the figures in one line."""
    at = turn.speech_ended_s
    place = f" ({int(at) // 60}:{int(at) % 60:02})" if at is not None else " (typed)" if turn.typed else ""
    text = f"**You**{place}**:** {_plain(turn.user_text)}\n\n"
    if turn.agent_text:
        text += f"**Agent:** {_plain(turn.agent_text)}{' --' if turn.interrupted else ''}\n\n"
    figures = []
    if turn.voice_to_voice_ms is not None:
        figures.append(f"{turn.voice_to_voice_ms:.0f} ms voice to voice")
    if turn.after_enter_ms is not None:
        figures.append(f"{turn.after_enter_ms:.0f} ms from Enter")
    for name, true in (("interrupted", turn.interrupted), ("cut off", turn.cut_off), ("reopened", turn.reopened)):
        if true:
            figures.append(name)
    if turn.error is not None:
        figures.append(f"failed: {turn.error}")
    return text + (f"*turn {turn.id}: {_plain(', '.join(figures))}*\n\n" if figures else "")


def _plain(text: str) -> str:
    """``text`` in one line, its Markdown characters escaped."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
