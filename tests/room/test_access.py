"""Where the LiveKit server is: what is named by hand comes before the environment."""

from __future__ import annotations

import logging

import pytest

from voice_agent.commands.room import is_no_double_drop
from voice_agent.config import Secret
from voice_agent.errors import ConfigError
from voice_agent.room.access import API_KEY, API_SECRET, URL, LiveKitAccess, find_access

ENVIRONMENT = {URL: "http://lk.example.org:7880/", API_KEY: "key", API_SECRET: "word"}


def lookup(found: dict[str, str]) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in found.items()}


def test_the_three_variables_are_the_server() -> None:
    access = find_access(lookup=lookup(ENVIRONMENT).get)
    assert access == LiveKitAccess("ws://lk.example.org:7880", "key", Secret("word"))
    assert access.environment() == {**ENVIRONMENT, URL: "ws://lk.example.org:7880"}
    assert "word" not in repr(access)


def test_what_is_given_comes_first_and_nothing_is_not_given() -> None:
    access = find_access({URL: "wss://mine", API_KEY: None, API_SECRET: ""}, lookup(ENVIRONMENT).get)
    assert access == LiveKitAccess("wss://mine", "key", Secret("word"))


@pytest.mark.parametrize("missing", [(URL,), (API_KEY, API_SECRET), (URL, API_KEY, API_SECRET)])
def test_what_is_missing_is_named(missing: tuple[str, ...]) -> None:
    there = {name: value for name, value in ENVIRONMENT.items() if name not in missing}
    with pytest.raises(ConfigError, match=f"set {' and '.join(missing)}:"):
        find_access(lookup=lookup(there).get)


def test_of_the_native_sides_warnings_one_is_left_out() -> None:
    def shown(text: str) -> bool:
        return is_no_double_drop(logging.LogRecord("livekit", logging.WARNING, "", 0, text, (), None))

    assert not shown("livekit_ffi::server - Attempted to drop unknown FFI handle: 151")
    assert shown("livekit::rtc_engine - received session close")
