"""The live screen: entries scroll by, the live part stays below them. It is drawn at most ten times a second."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from ..budget.turn_verdict import Budget
from .events import Event, SoundLevel
from .screen_state import SILENT_DBFS, Follower, ScreenState
from .usage import in_words
from .view import View, entry_lines

KEPT = 12  # entries in a screenshot
LEVEL_STEP_DB = 3  # smaller changes of the level are not drawn; one cell of the meter is 5 dB


class ScreenSink:
    """Draws on ``console``. ``sound`` returns the current level and xruns (or None); it is called at each tick."""

    def __init__(self, console: Console, budget: Budget, sound: Callable[[], SoundLevel | None] = lambda: None) -> None:
        self._console = console
        self._follower = Follower(budget)
        self._sound = sound
        self._entries: deque[Group] = deque(maxlen=KEPT)
        self._drawn: ScreenState | None = None
        # Rich redirects Python's standard output and error: what others print appears above the live part.
        self._live = Live(View(self._follower.state), console=console, auto_refresh=False, transient=True)

    def start(self) -> None:
        """Begin to draw, or begin again after :meth:`stop`."""
        self._live.start()
        self._drawn = None

    def stop(self) -> None:
        """Remove the live part and show the cursor."""
        self._live.stop()

    def take(self, at_s: float, event: Event) -> None:
        """Update the state; print the new entries."""
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
                level = shown  # the noise of a room varies by this much: do not redraw for it
            self._follower.take(SoundLevel(level, sound.input_xruns, sound.output_xruns))
        if self._follower.state != self._drawn:
            self._drawn = self._follower.state
            self._live.update(View(self._drawn), refresh=True)

    def close(self) -> None:
        """Remove the live part; print the figures of the call."""
        self.stop()
        state = self._follower.state
        if state.summary.turns:
            self._console.print(str(state.summary), markup=False, highlight=False)
        for usage in state.usage:
            self._console.print(in_words(usage), markup=False, highlight=False)

    def save_svg(self, path: Path, title: str = "voice-agent talk") -> None:
        """Save the screen as an SVG picture. Raises OSError if it cannot be written."""
        picture = Console(
            file=io.StringIO(), record=True, width=self._console.width, force_terminal=True, color_system="truecolor"
        )
        for lines in tuple(self._entries):  # the drawing thread may add one meanwhile
            picture.print(lines)
        picture.print(View(self._follower.state))
        # Without rich's web fonts: a picture should not connect to a server.
        svg = re.sub(r"@font-face \{.*?\}", "", picture.export_svg(title=title), flags=re.DOTALL)
        path.write_text(svg, encoding="utf-8")
