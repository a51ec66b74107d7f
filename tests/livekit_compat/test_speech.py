"""The handle of a speech in the tasks that make it, and the moment it is scheduled."""

from __future__ import annotations

import asyncio
import logging

import pytest
from livekit.agents.voice import SpeechHandle, agent_activity

from voice_agent.livekit_compat import symbols
from voice_agent.livekit_compat.speech import current_speech, speech_made, when_scheduled


async def test_the_speech_of_a_task_is_that_of_its_maker() -> None:
    handle = SpeechHandle.create()
    assert current_speech() is None
    with speech_made(handle):
        assert current_speech() is handle

        async def in_a_task() -> SpeechHandle | None:
            return current_speech()

        assert await asyncio.create_task(in_a_task()) is handle
    assert current_speech() is None


async def test_it_is_told_once_when_a_speech_is_scheduled() -> None:
    handle, other = SpeechHandle.create(), SpeechHandle.create()
    told: list[str] = []
    assert when_scheduled(handle, lambda: told.append("this"))
    assert when_scheduled(other, lambda: told.append("other"))
    await asyncio.sleep(0)
    assert told == []
    handle._mark_scheduled()
    await asyncio.sleep(0)
    assert told == ["this"]
    assert handle.scheduled


async def test_without_the_name_there_is_no_speech_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(symbols, "_warned", set())
    monkeypatch.setattr(logging.getLogger("voice_agent"), "propagate", True)
    monkeypatch.delattr(agent_activity, "_SpeechHandleContextVar")
    assert current_speech() is None
    assert current_speech() is None
    (record,) = caplog.records
    assert "livekit.agents.voice.agent_activity._SpeechHandleContextVar" in record.message
    assert "livekit-agents>=1.8.9,<1.9" in record.message


async def test_a_handle_without_the_future_is_never_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(symbols, "_warned", set())
    monkeypatch.setattr(logging.getLogger("voice_agent"), "propagate", True)
    handle = SpeechHandle.create()
    del handle._scheduled_fut
    assert not when_scheduled(handle, lambda: pytest.fail("called"))
    assert not when_scheduled(handle, lambda: pytest.fail("called"))
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "_scheduled_fut" in caplog.text
