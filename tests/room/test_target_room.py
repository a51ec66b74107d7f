"""``voice-agent test --target room``: a script is played to a worker's agent through a real room, by sound alone."""

from __future__ import annotations

import wave
from pathlib import Path

from tests.support.livekit_server import LiveKitServer
from voice_agent.config import Config, Secret
from voice_agent.room.access import LiveKitAccess
from voice_agent.testing.scenario.results import AUDIO, read_run
from voice_agent.testing.scenario.room_end import RoomTarget
from voice_agent.testing.scenario.runner import run_script
from voice_agent.testing.scenario.script_file import parse

from .conftest import AGENT, Running

SCRIPT = """
turns:
  - audio: ask03.wav
    expect: {heard: anything}
  - audio: ask02.wav
    interrupt: {after: 0.3s}
expect: {unanswered: 0}
"""


async def test_a_script_in_a_room(
    livekit_server: LiveKitServer, running: Running, speech: Path, tmp_path: Path
) -> None:
    access = LiveKitAccess(livekit_server.url, livekit_server.key, Secret(livekit_server.secret))
    script = parse(SCRIPT, speech / "in-a-room.voice.yaml")
    result = await run_script(script, Config(), tmp_path, target=RoomTarget(access, AGENT))
    assert result.error is None
    assert [step.answered for step in result.steps] == [True, True]
    first, second = result.steps
    assert first.row is not None
    assert 0 < (first.row.voice_to_voice_ms or 0) < 8000
    assert [check.ok for check in first.checks] == [True, None]  # answered; the words are not known
    assert second.said_s is not None
    assert first.said_s is not None
    assert second.said_s[0] > first.said_s[1]
    assert second.stopped_ms is None or second.stopped_ms < 6000
    data = read_run(tmp_path)
    assert data["target"] == "room"
    assert "measured by sound alone" in data["notes"][0]
    with wave.open(str(tmp_path / AUDIO)) as recording:
        assert (recording.getnchannels(), recording.getframerate()) == (2, 16_000)
        assert recording.getnframes() / 16_000 > second.said_s[1]
