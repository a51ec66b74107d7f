"""The live screen: entries scroll by as usual, and the live part stays below them. Drawn at most ten times a second."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from ..budget.ledger import Budget
from .events import Event, SoundLevel
from .screen_state import SILENT_DBFS, Follower, ScreenState
from .usage import in_words
from .view import View, entry_lines

KEPT = 12  # entries that a picture shows
LEVEL_STEP_DB = 3  # the meter follows steps of this size; one of its cells is 5 dB


class ScreenSink:
    """Draws on ``console``. ``sound``: the microphone's present level and lost sound, asked at each tick; or None."""

    def __init__(self, console: Console, budget: Budget, sound: Callable[[], SoundLevel | None] = lambda: None) -> None:
        self._console = console
        self._follower = Follower(budget)
        self._sound = sound
        self._entries: deque[Group] = deque(maxlen=KEPT)
        self._drawn: ScreenState | None = None
        # Standard output and error of Python stay ours: what others print goes above the live part.
        self._live = Live(View(self._follower.state), console=console, auto_refresh=False, transient=True)

    def start(self) -> None:
        """Begin to draw; also again after :meth:`stop`."""
        self._live.start()
        self._drawn = None

    def stop(self) -> None:
        """Take the live part down and give the cursor back."""
        self._live.stop()

    def take(self, at_s: float, event: Event) -> None:
        """Change the state; print what stays."""
        for entry in self._follower.take(event):
            lines = entry_lines(entry, self._follower.budget, self._console)
            self._entries.append(lines)
            self._console.print(lines)

    def tick(self) -> None:
        """Draw if anything has changed."""
        self._follower.tick()
        if (sound := self._sound()) is not None:
            level, shown = max(SILENT_DBFS, round(sound.level_dbfs)), self._follower.state.level_dbfs
            if abs(level - shown) < LEVEL_STEP_DB and level > SILENT_DBFS:
                level = shown  # a room's noise goes up and down by this much: no reason to draw all of it anew
            self._follower.take(SoundLevel(level, sound.input_xruns, sound.output_xruns))
        if self._follower.state != self._drawn:
            self._drawn = self._follower.state
            self._live.update(View(self._drawn), refresh=True)

    def close(self) -> None:
        """Take the live part down; leave the session's figures."""
        self.stop()
        state = self._follower.state
        if state.summary.turns:
            self._console.print(str(state.summary), markup=False, highlight=False)
        for usage in state.usage:
            self._console.print(in_words(usage), markup=False, highlight=False)

    def save_svg(self, path: Path, title: str = "voice-agent talk") -> None:
        """The screen as it stands, as a picture. OSError if it cannot be written."""
        paper = Console(
            file=io.StringIO(), record=True, width=self._console.width, force_terminal=True, color_system="truecolor"
        )
        for lines in tuple(self._entries):  # the drawing thread may add one meanwhile
            paper.print(lines)
        paper.print(View(self._follower.state))
        # Without the fonts that rich would have the picture fetch: a page that is read should call nobody.
        svg = re.sub(r"@font-face \{.*?\}", "", paper.export_svg(title=title), flags=re.DOTALL)
        path.write_text(svg, encoding="utf-8")
