"""The check before a session or a worker starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from voice_agent.errors import DependencyError
from voice_agent.livekit_compat import startup, streams
from voice_agent.livekit_compat.startup import check
from voice_agent.livekit_compat.symbols import Symbol


@pytest.fixture(autouse=True)
def unchecked() -> Iterator[None]:
    check.cache_clear()
    yield
    check.cache_clear()


def test_the_installed_versions_are_known(warnings: Callable[[], list[str]]) -> None:
    check()
    assert warnings() == []
    assert len(startup.REQUIRED) == 7


def test_an_unknown_version_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(startup, "installed", lambda name: "1.9.0" if name == "livekit-agents" else "1.1.21")
    check()
    check()
    assert warnings() == [
        "livekit-agents 1.9.0 is installed; voice-agent is tested with >=1.8.9,<1.9",
        "livekit-local-inference 1.1.21 is installed; voice-agent is tested with >=0.2.7,<0.3",
    ]


@pytest.mark.parametrize("symbol", startup.REQUIRED, ids=str)
def test_without_a_name_that_a_call_needs_it_does_not_start(symbol: Symbol, without: Callable[[Symbol], None]) -> None:
    without(symbol)
    with pytest.raises(DependencyError, match=r"pip install 'livekit-agents>=1\.8\.9,<1\.9'"):
        check()


def test_without_a_name_that_can_be_missed_it_starts(without: Callable[[Symbol], None]) -> None:
    without(streams.TTS_STARTED)
    check()
