"""What is drawn anew, and what is not."""

from __future__ import annotations

import io

from rich.console import Console

from voice_agent.budget.turn_verdict import Budget
from voice_agent.talk.events import CallStatus, Ready, SoundLevel
from voice_agent.talk.live_screen import ScreenSink


class Drawn:
    """A screen whose microphone has the level :attr:`level_dbfs`."""

    def __init__(self) -> None:
        self.level_dbfs = -96.0
        self.xruns = 0
        self.file = io.StringIO()
        console = Console(file=self.file, width=80, force_terminal=True, legacy_windows=False)
        self.sink = ScreenSink(console, Budget(), lambda: SoundLevel(self.level_dbfs, 0, self.xruns))
        self.sink.start()
        self.sink.take(0.0, Ready("double-1", "Simulated", "tiny.en", "joe"))
        self.sink.take(0.0, CallStatus("listening"))
        self.draws()

    def draws(self, level_dbfs: float | None = None) -> bool:
        """Whether this tick draws."""
        before = self.file.tell()
        if level_dbfs is not None:
            self.level_dbfs = level_dbfs
        self.sink.tick()
        return self.file.tell() > before


def test_the_noise_of_a_room_is_not_drawn_again_and_again() -> None:
    drawn = Drawn()
    assert drawn.draws(-52.0)
    assert not any(drawn.draws(-52.0 + jitter) for jitter in (0.0, 1.2, -2.3, 2.4, -1.0) for _ in range(10))


def test_speech_is_followed() -> None:
    drawn = Drawn()
    assert [drawn.draws(level) for level in (-52.0, -40.0, -24.0, -21.0, -38.0)] == [True] * 5
    assert "-38 dB" in drawn.file.getvalue()


def test_silence_is_shown_as_such() -> None:
    drawn = Drawn()
    assert drawn.draws(-55.0)
    assert drawn.draws(-58.0)
    assert drawn.draws(-96.0)
    assert drawn.file.getvalue().count(" silent") == 2
    assert not drawn.draws(-80.0)


def test_lost_sound_is_drawn_at_once() -> None:
    drawn = Drawn()
    drawn.xruns = 1
    assert drawn.draws()
