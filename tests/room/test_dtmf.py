from __future__ import annotations

import asyncio

from voice_agent.room.dtmf import MAX_KEYS, Keypad


async def test_keys_up_to_the_hash_are_one_input() -> None:
    typed: list[str] = []
    pad = Keypad(typed.append, wait_s=60)
    for key in "12*407#9":
        pad.press(key)
    assert typed == ["407"]
    pad.close()


async def test_a_pause_ends_the_input() -> None:
    typed: list[str] = []
    pad = Keypad(typed.append, wait_s=0.01)
    pad.press("7")
    async with asyncio.timeout(10):
        while not typed:  # noqa: ASYNC110  # a callback, no event
            await asyncio.sleep(0.01)
    assert typed == ["7"]


async def test_what_is_no_key_or_too_long_is_ignored() -> None:
    typed: list[str] = []
    pad = Keypad(typed.append, wait_s=60)
    for key in ("", "12", "x", "#"):
        pad.press(key)
    for _ in range(100):
        pad.press("5")
    pad.press("#")
    assert typed == ["5" * MAX_KEYS]


async def test_a_closed_keypad_gives_no_input() -> None:
    typed: list[str] = []
    pad = Keypad(typed.append, wait_s=0.01)
    pad.press("7")
    pad.close()
    await asyncio.sleep(0.05)
    assert typed == []
