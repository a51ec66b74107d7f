"""Devices that cannot be opened."""

from __future__ import annotations

import pytest

from tests.microphone.sound_double import OpenCall
from voice_agent.config import AudioConfig
from voice_agent.errors import AudioError, UsageError
from voice_agent.microphone.sound_system import Kind


@pytest.mark.parametrize("kind", ["input", "output"])
async def test_a_device_that_cannot_be_opened(call: OpenCall, kind: Kind) -> None:
    call.system.refuse = kind
    with pytest.raises(AudioError, match="cannot be opened"):
        async with call.open():
            raise AssertionError("it was opened")
    assert all(stream.closed for stream in call.system.streams)


async def test_no_device(call: OpenCall) -> None:
    call.system.present = []
    with pytest.raises(AudioError, match="talk --demo"):
        async with call.open():
            raise AssertionError("it was opened")


async def test_an_unknown_device(call: OpenCall) -> None:
    with pytest.raises(UsageError, match="there are: 0 Headset"):
        async with call.open(AudioConfig(input="nothing")):
            raise AssertionError("it was opened")
