from __future__ import annotations

import dataclasses
import json

import pytest

from voice_agent.config import Config, RoomConfig
from voice_agent.errors import ConfigError
from voice_agent.room.metadata import MAX_BYTES, configured

CONFIG = Config(room=RoomConfig(voices="en_US-amy-low, de_DE-thorsten-medium", languages="de"))


def test_empty_metadata_changes_nothing() -> None:
    assert configured(CONFIG, "") is CONFIG
    assert configured(CONFIG, "  \n") is CONFIG
    assert configured(CONFIG, "{}") == CONFIG


def test_allowed_keys_change_the_configuration() -> None:
    about = {
        "instructions": "You sell tickets.",
        "greeting": "Hello.",
        "voice": "de_DE-thorsten-medium",
        "language": "de",
        "budget": {"total_ms": 700, "llm_ms": 300.5},
    }
    found = configured(dataclasses.replace(CONFIG, tts=dataclasses.replace(CONFIG.tts, speaker=3)), json.dumps(about))
    assert (found.agent.instructions, found.agent.greeting) == ("You sell tickets.", "Hello.")
    assert (found.tts.voice, found.tts.speaker) == ("de_DE-thorsten-medium", None)
    assert found.stt.language == "de"
    assert (found.budget.total_ms, found.budget.llm_ms) == (700, 300.5)
    assert found.budget.stt_ms == CONFIG.budget.stt_ms


def test_the_configured_voice_may_be_named_and_keeps_its_speaker() -> None:
    config = dataclasses.replace(CONFIG, tts=dataclasses.replace(CONFIG.tts, speaker=3))
    assert configured(config, json.dumps({"voice": CONFIG.tts.voice})).tts.speaker == 3


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ("hello", "not JSON"),
        ("[1]", "object"),
        ("[" * 5_000, "not JSON"),
        ('{"api_key": "x"}', "'api_key'"),
        ('{"llm.base_url": "http://stranger"}', "llm.base_url"),
        ('{"instructions": 5}', "instructions"),
        (json.dumps({"instructions": "x" * 8_001}), "8000"),
        (json.dumps({"greeting": "x" * 501}), "greeting"),
        ('{"voice": "/etc/passwd"}', "not offered"),
        ('{"voice": ["en_US-amy-low"]}', "not offered"),
        ('{"language": "fr"}', "room.languages"),
        ('{"budget": 3}', "budget"),
        ('{"budget": {"total": 3}}', "total_ms"),
        ('{"budget": {"total_ms": "3"}}', "number"),
        ('{"budget": {"total_ms": true}}', "number"),
        ('{"budget": {"total_ms": -1}}', "budget"),
        ('{"budget": {"total_ms": NaN}}', "budget"),
        ('{"budget": {"total_ms": 1e999}}', "number"),
        (json.dumps({"greeting": "x" * MAX_BYTES}), "bytes"),
    ],
)
def test_metadata_that_is_not_allowed_is_refused_by_name(metadata: str, named: str) -> None:
    with pytest.raises(ConfigError, match="job metadata") as raised:
        configured(CONFIG, metadata)
    assert named in str(raised.value)
    assert len(str(raised.value)) < 400
