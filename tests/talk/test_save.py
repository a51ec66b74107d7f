"""What is kept of a conversation: readable at any moment, also after the process was killed."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from voice_agent.budget.export import read_jsonl
from voice_agent.budget.ledger import Turn
from voice_agent.budget.turn_verdict import Budget
from voice_agent.clock import ManualClock
from voice_agent.errors import UsageError
from voice_agent.talk.events import AgentFinished, AgentWords, Note, Ready, SoundLevel, TurnDone, UserWords
from voice_agent.talk.save import RECORDING, ROWS, TRANSCRIPT, Saved

MakeTurn = Callable[..., Turn]
READY = Ready("double_1", "Simulated", "tiny.en", "joe", ("language model",))

KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from tests.talk.conftest import turn
from voice_agent.budget.turn_verdict import Budget
from voice_agent.audio.timeline import Timeline
from voice_agent.talk.events import Ready, TurnDone
from voice_agent.talk.save import Saved
saved = Saved(Path(sys.argv[1]), Budget())
line = Timeline(saved.recording)
saved.take(Ready("double-1", "Simulated", "tiny.en", "joe"))
for number in (1, 2):
    line.place_user(16000 * (number - 1), np.full(16000, 1000, np.int16))
    line.write()
    saved.take(TurnDone(turn(number)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_conversation(tmp_path: Path, make_turn: MakeTurn, make_typed_turn: MakeTurn) -> None:
    saved = Saved(tmp_path / "kept", Budget(), ManualClock(1_000_000.0))
    spoken = make_turn(1, user_text="Is *this* a_b?", speech_ended_s=65.2, interrupted=True)
    for event in (
        READY, Note("a note"), AgentWords("Hello."), AgentFinished(), UserWords("Is *this* a_b?", True),
        TurnDone(spoken),
        TurnDone(make_typed_turn(2)),
    ):  # fmt: skip
        saved.take(event)
    page = (tmp_path / "kept" / TRANSCRIPT).read_text()  # before it is closed
    saved.close()
    saved.close()
    assert page.startswith("# Conversation, 1970-01-1")
    for words in (
        "double\\_1 at Simulated, Whisper tiny.en, voice joe. **Simulated: language model.**",
        "> a note",
        "**Agent:** Hello.",
        "**You** (1:05)**:** Is \\*this\\* a\\_b?",
        "**Agent:** It is nine in the evening. --",
        "*turn 1: 320 ms voice to voice, interrupted*",
        "**You** (typed)**:** hello by hand",
        "*turn 2: 250 ms from Enter*",
    ):
        assert words in page
    assert "cut off 0 of 2" in (tmp_path / "kept" / TRANSCRIPT).read_text()
    turns, problems = read_jsonl(tmp_path / "kept" / ROWS)
    assert [turn.typed for turn in turns] == [False, True]
    assert turns[1].after_enter_ms == pytest.approx(250.0)
    assert problems == []


def test_the_devices_and_what_they_lost(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "kept", Budget(), ManualClock(1_000_000.0))
    devices = dataclasses.replace(READY, device="input: a_b 16 kHz", input_latency_ms=36.2, output_latency_ms=19.6)
    for event in (devices, SoundLevel(-20.0, 0, 1), SoundLevel(-20.0, 1, 4)):
        saved.take(event)
    saved.close()
    page = (tmp_path / "kept" / TRANSCRIPT).read_text()
    assert "input: a\\_b 16 kHz; latency as reported: input 36 ms, output 20 ms." in page
    assert "Sound was lost 1 times at the microphone, 4 times at the loudspeaker." in page


def test_killed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder)], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    turns, problems = read_jsonl(folder / ROWS)
    assert ([turn.id for turn in turns], problems) == ([1, 2], [])
    assert (folder / TRANSCRIPT).read_text().count("**You**") == 2
    with wave.open(str(folder / RECORDING), "rb") as f:
        assert f.getnframes() == 2 * f.getframerate()


def test_a_folder_that_holds_a_conversation_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / TRANSCRIPT).write_text("mine")
    with pytest.raises(UsageError, match="holds a conversation already"):
        Saved(tmp_path, Budget())
    assert (tmp_path / TRANSCRIPT).read_text() == "mine"
    assert not (tmp_path / ROWS).exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="folder"):
        Saved(file / "kept", Budget())
