"""The handle of a speech in the tasks that make it, and the moment it is scheduled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from livekit.agents.voice import SpeechHandle

from voice_agent.livekit_compat.speech import CURRENT_SPEECH, current_speech, speech_made, when_scheduled
from voice_agent.livekit_compat.symbols import Symbol


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
    without: Callable[[Symbol], None], warnings: Callable[[], list[str]]
) -> None:
    without(CURRENT_SPEECH)
    assert current_speech() is None
    assert current_speech() is None
    (message,) = warnings()
    assert "_SpeechHandleContextVar: the ledger cannot tell which generation was played" in message


async def test_a_handle_without_the_future_is_never_waited_for(warnings: Callable[[], list[str]]) -> None:
    handle = SpeechHandle.create()
    del handle._scheduled_fut
    assert not when_scheduled(handle, lambda: pytest.fail("called"))
    assert not when_scheduled(handle, lambda: pytest.fail("called"))
    (message,) = warnings()
    assert "_scheduled_fut" in message
