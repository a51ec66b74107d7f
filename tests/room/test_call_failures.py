"""What fails during a call in a real room: the caller hears of it, and the call goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.livekit_server import LiveKitServer
from voice_agent.stt.decoder import WhisperEngine

from .conftest import Clip, Join, Provider, Running, ask

pytestmark = pytest.mark.e2e


class BrokenEngine:
    """Whisper; every pass raises until ``broken`` is False."""

    def __init__(self, engine: WhisperEngine) -> None:
        self._engine = engine
        self.broken = True

    def __getattr__(self, name: str) -> Any:
        if self.broken and name == "decode":
            raise RuntimeError("the engine is broken")
        return getattr(self._engine, name)


async def test_an_stt_that_fails_is_apologised_for_and_the_call_goes_on(
    join: Join, running: Running, clip: Callable[[str], Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = BrokenEngine(running.models.engine("en"))
    monkeypatch.setattr(running.models, "engine", lambda language, model=None: broken)
    async with join() as heard:
        assert await ask(heard, clip("ask02")) is not None, "nobody said a word"
        agent = heard.caller.agent
        assert agent is not None
        await heard.until(lambda: any("Sorry" in text for who, text, _ in heard.said if who == agent.identity))
        broken.broken = False
        assert await ask(heard, clip("ask03")) is not None
        await heard.until(lambda: any("France" in text for who, text, _ in heard.said if who == "caller"))


async def test_a_model_that_fails_is_apologised_for_and_the_call_goes_on(
    join: Join, provider: Provider, clip: Callable[[str], Clip]
) -> None:
    async with join() as heard:
        agent = heard.caller.agent
        assert agent is not None

        def answers(since: int = 0) -> list[str]:
            return [text for who, text, _ in heard.said[since:] if who == agent.identity]

        def apologies() -> int:
            return sum("Sorry" in text for text in answers())

        for number, how in enumerate(("500", "hang up"), 1):
            provider.broken = how
            assert await ask(heard, clip("ask02"), 20) is not None, f"{how}: nobody said a word"
            await heard.until(partial(lambda wanted: apologies() == wanted, number))
            assert provider.failed >= number, "the provider was not asked"
            provider.broken = None
            before = len(heard.said)
            assert await ask(heard, clip("ask03")) is not None, f"after {how}: no answer"
            await heard.until(partial(answers, before))
            assert apologies() == number, "the turn after the failure failed too"


async def test_a_call_survives_a_short_break_of_the_network(
    livekit_server: LiveKitServer, join: Join, clip: Callable[[str], Clip]
) -> None:
    async with join() as heard:
        agent = heard.caller.agent
        assert agent is not None
        assert await ask(heard, clip("ask02")) is not None
        livekit_server.pause()
        try:
            await asyncio.sleep(6.0)
        finally:
            livekit_server.resume()
        assert await ask(heard, clip("ask03")) is not None
        still = heard.caller.agent
        assert still is not None
        assert still.sid == agent.sid, "another agent, or the same one anew"
        await heard.until(lambda: any("France" in text for who, text, _ in heard.said if who == "caller"))
