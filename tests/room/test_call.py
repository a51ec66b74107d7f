"""A call in a real room, by its sound and by what a client reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from livekit.agents.voice import RemoteSession

from voice_agent import meter
from voice_agent.audio.resampling import resample
from voice_agent.config import MeterConfig
from voice_agent.livekit_compat import room_output

from .conftest import Clip, Join, Provider, Running, ask, with_room

pytestmark = pytest.mark.e2e

SILENT_S = 1.0  # longer than between two sentences of an answer


async def test_a_conversation(join: Join, clip: Callable[[str], Clip]) -> None:
    async with join(attributes={"voice_agent.ledger": "1"}) as heard:
        first = await ask(heard, clip("ask03"))
        assert first is not None
        assert first > 0, "the agent spoke into the question"
        await heard.until(lambda: heard.rows)
        second = await ask(heard, clip("ask02"))
        assert second is not None
        await heard.until(lambda: len(heard.rows) == 2)
        agent = heard.caller.agent
        assert agent is not None
        mine = [text for who, text, final in heard.said if who == "caller" and final]
        assert "capital of France" in mine[0]
        theirs = [text for who, text, _ in heard.said if who == agent.identity]
        assert len(theirs) >= 2
        assert all(text.strip() for text in theirs)
        assert {"listening", "thinking", "speaking"} <= set(heard.states)
        row = heard.rows[0]
        assert row["user_text"] == mine[0]
        assert row["agent_text"] == theirs[0].strip()
        assert row["voice_to_voice_ms"] == pytest.approx(sum(row["spans_ms"].values()), abs=0.11)
        assert first * 1000 > row["voice_to_voice_ms"], "the room's way comes on top of what the ledger knows"


async def test_a_release_without_our_outputs_base_is_heard_and_measured(
    join: Join, clip: Callable[[str], Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiveKit's own output is used then."""
    monkeypatch.setattr(room_output, "available", lambda: False)
    async with join(attributes={"voice_agent.ledger": "1"}) as heard:
        assert await ask(heard, clip("ask03")) is not None
        await heard.until(lambda: heard.rows)
        assert heard.rows[0]["voice_to_voice_ms"] > 0


async def test_the_ledger_is_not_for_strangers(join: Join, clip: Callable[[str], Clip]) -> None:
    async with (
        join(room="private") as stranger,
        join(room="private", identity="watcher", agent=None, attributes={"voice_agent.ledger": "1"}) as watcher,
    ):
        assert await ask(stranger, clip("ask02")) is not None
        await watcher.until(lambda: watcher.rows)
        assert stranger.rows == []


@pytest.mark.parametrize("allowed", [False, True], ids=["as it is", "where it is allowed"])
async def test_the_session_is_not_for_strangers(
    join: Join, running: Running, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    """By default LiveKit gives whoever is in the room the instructions and the conversation, and takes orders."""
    monkeypatch.setattr(running.worker, "config", with_room(remote_session=allowed))
    async with join() as heard:
        agent = heard.caller.agent
        assert agent is not None
        await heard.until(lambda: agent.attributes.get("lk.agent.state") == "listening")  # the session has begun
        remote = RemoteSession.from_room(heard.caller.room, agent.identity)
        await remote.start()
        try:
            if allowed:
                await remote.wait_for_ready(10.0)
                assert (await remote.get_agent_info()).instructions
            else:
                with pytest.raises(TimeoutError):
                    await remote.wait_for_ready(3.0)
        finally:
            await remote.aclose()


async def test_the_providers_quota_is_told_to_the_same_and_again_when_it_changes(join: Join, tmp_path: Path) -> None:
    config = MeterConfig(limits="cerebras.tokens_day=10k")
    async with (
        join(room="quota") as stranger,
        join(room="quota", identity="watcher", agent=None, attributes={"voice_agent.ledger": "1"}) as watcher,
    ):
        with meter.opened(config, tmp_path / "meter.sqlite") as counting:
            assert counting is not None
            counting.used("cerebras", "llama", requests=1, prompt_tokens=8000, completion_tokens=500)
            await watcher.until(lambda: watcher.usages)
            (first,) = watcher.usages[0]["providers"]
            assert (first["provider"], first["requests_today"], first["tokens_today"]) == ("cerebras", 1, 8500)
            assert (first["quota"], first["limit"], first["state"]) == ("tokens_day", 10_000, "warn")
            counting.used("cerebras", "llama", requests=1, prompt_tokens=2000)
            await watcher.until(lambda: watcher.usages[-1]["providers"][0]["state"] == "full")
            assert len(watcher.usages) == 2, "it was told again without a change"
        assert stranger.usages == []


async def test_typed_text_is_answered(join: Join, provider: Provider) -> None:
    async with join() as heard:
        heard.caller.listen_from_now()
        await heard.caller.room.local_participant.send_text("What time is it?", topic="lk.chat")
        assert await heard.caller.reply(heard.caller.now_s() + 10) is not None
        assert provider.asked[-1] == "What time is it?"
        agent = heard.caller.agent
        assert agent is not None
        await heard.until(lambda: any(who == agent.identity for who, _, _ in heard.said))


async def test_a_long_answer_goes_on_while_nobody_speaks(
    long_answers: None, join: Join, clip: Callable[[str], Clip]
) -> None:
    """What the two tests after this one rely on: by itself such an answer does not fall silent within 6 s."""
    async with join() as heard:
        assert await ask(heard, clip("ask03")) is not None
        assert await heard.caller.stopped(heard.caller.now_s(), hush_s=SILENT_S) is None


async def test_speaking_into_an_answer_stops_it(long_answers: None, join: Join, clip: Callable[[str], Clip]) -> None:
    async with join(attributes={"voice_agent.ledger": "1"}) as heard:
        assert await ask(heard, clip("ask03")) is not None
        await asyncio.sleep(0.6)
        onset = heard.caller.say(clip("sense01").pcm)
        assert await heard.caller.stopped(onset, hush_s=SILENT_S) is not None
        await heard.until(lambda: heard.rows)
        assert heard.rows[0]["interrupted"]


async def test_the_button_interrupts(long_answers: None, join: Join, clip: Callable[[str], Clip]) -> None:
    async with join(attributes={"voice_agent.ledger": "1"}) as heard:
        assert await ask(heard, clip("ask03")) is not None
        agent = heard.caller.agent
        assert agent is not None
        await asyncio.sleep(0.5)
        pressed = heard.caller.now_s()
        await heard.caller.room.local_participant.perform_rpc(
            destination_identity=agent.identity, method="voice_agent.interrupt", payload=""
        )
        assert await heard.caller.stopped(pressed, hush_s=SILENT_S, within_s=3) is not None
        await heard.until(lambda: heard.rows)
        assert heard.rows[0]["interrupted"]


async def test_a_telephone_is_understood(join: Join, clip: Callable[[str], Clip]) -> None:
    said = clip("ask03")
    narrow = resample(resample(said.pcm, 16_000, 8_000), 8_000, 16_000)
    async with join() as heard:
        assert await ask(heard, Clip(narrow, said.end_s, said.text)) is not None
        assert any("France" in text for who, text, final in heard.said if who == "caller" and final)


async def test_keys_of_a_telephone_are_answered(join: Join, provider: Provider) -> None:
    async with join() as heard:
        heard.caller.listen_from_now()
        for key in "407#":
            code = "0123456789*#".index(key)
            await heard.caller.room.local_participant.publish_dtmf(code=code, digit=key)
        assert await heard.caller.reply(heard.caller.now_s() + 10) is not None
        assert provider.asked[-1] == "(keys pressed on the phone) 407"


async def test_silence_from_a_muted_microphone_is_no_turn(join: Join, clip: Callable[[str], Clip]) -> None:
    async with join() as heard:
        caller = heard.caller
        (publication,) = caller.room.local_participant.track_publications.values()
        assert publication.track is not None
        publication.track.mute()
        caller.listen_from_now()
        caller.say(clip("ask02").pcm)
        await caller.spoken()
        assert await caller.reply(caller.now_s() + 2.5) is None
        publication.track.unmute()
        assert await ask(heard, clip("ask02")) is not None


async def test_a_participant_that_returns_is_answered_again(join: Join, clip: Callable[[str], Clip]) -> None:
    async with join(room="door") as heard:
        assert await ask(heard, clip("ask02")) is not None
    async with join(room="door", agent=None, wait=False) as heard:
        assert await heard.caller.agent_there(10)
        assert await ask(heard, clip("ask03")) is not None


async def test_of_two_the_first_is_answered_and_then_the_second(join: Join, clip: Callable[[str], Clip]) -> None:
    async with join(room="two", identity="first") as first, join(room="two", identity="second", agent=None) as second:
        assert await ask(second, clip("ask03"), within_s=3.0) is None
        assert await ask(first, clip("ask02")) is not None
        await first.caller.leave()
        assert await ask(second, clip("ask03")) is not None


async def test_an_empty_room_is_left(join: Join, running: Running) -> None:
    async with join() as heard:
        assert running.worker.calls >= 1
        room = heard.caller.room.name
    for _ in range(400):
        if room not in {job.job.room.name for job in running.worker.server.active_jobs}:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the agent is still in an empty room")


async def test_metadata_changes_the_call(join: Join, clip: Callable[[str], Clip]) -> None:
    greeting = "Good morning, this is the library."
    about = {"greeting": greeting, "budget": {"total_ms": 321}}
    async with join(metadata=json.dumps(about), attributes={"voice_agent.ledger": "1"}) as heard:
        agent = heard.caller.agent
        assert agent is not None
        await heard.until(lambda: any(greeting == text.strip() for _, text, _ in heard.said), 15)
        assert await ask(heard, clip("ask02")) is not None
        await heard.until(lambda: heard.rows)
        assert heard.rows[0]["budget_ms"]["total"] == 321


async def test_bad_metadata_is_refused_and_the_next_call_works(join: Join, running: Running) -> None:
    async with join(metadata='{"voice": "/etc/passwd"}', wait=False) as heard:
        assert not await heard.caller.agent_there(2.0)
    async with join():
        pass


async def test_several_rooms_share_the_models(join: Join, running: Running, clip: Callable[[str], Clip]) -> None:
    """Three at once, each with another question: everybody gets an answer, and no call hears another's words."""
    engine = running.models.engine("en")
    async with join() as one, join() as two, join() as three:
        calls = {"ask03": one, "ask02": two, "ask04": three}
        replies = await asyncio.gather(*(ask(heard, clip(name), 20) for name, heard in calls.items()))
        assert all(reply is not None for reply in replies)
        mine = {name: " ".join(text for who, text, final in heard.said if final) for name, heard in calls.items()}
        assert ["France" in text for text in mine.values()] == [True, False, False]
    assert running.models.engine("en") is engine
