"""The user speaks while the agent does: the whole pipeline with real models, checked on the recording."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from livekit.agents import llm

from voice_agent.audio.samples import Int16
from voice_agent.audio.timeline import AUDIBLE, RECORD_RATE, USER_RATE
from voice_agent.config import Config, load
from voice_agent.llm.local.sim_server import LONG_REPLY
from voice_agent.testing.harness.call_harness import CallHarness, call_harness
from voice_agent.testing.harness.items import Item, load_item
from voice_agent.testing.harness.sounds import throat
from voice_agent.testing.harness.speech_bounds import speech_onset_s

pytestmark = pytest.mark.e2e

LIMIT_S = 60.0  # a test that hangs, not one that is slow


@pytest.fixture(scope="module")
def config() -> Config:
    return load(flags={"llm.spec": "sim:ttft=170ms,tps=2314,reply=long", "stt.model": "tiny.en"})


@pytest.fixture
async def call(config: Config, tmp_path: Path) -> AsyncIterator[CallHarness]:
    async with asyncio.timeout(120), call_harness(config, record=tmp_path / "out.wav") as s:
        yield s


def item(speech: Path, name: str, config: Config) -> Item:
    return load_item(str(speech / f"{name}.wav"), config)


async def into_the_reply(s: CallHarness, question: Item, seconds: float = 1.5) -> None:
    s.input.say(question.pcm)
    assert await s.heard_for(seconds, patience_s=LIMIT_S) is not None, "no reply came"


def messages(s: CallHarness) -> list[llm.ChatMessage]:
    return [m for m in s.session.history.items if isinstance(m, llm.ChatMessage)]


def audible(s: CallHarness, from_s: float, to_s: float) -> bool:
    agent: Int16 = s.timeline.agent.read(round(from_s * RECORD_RATE), round(to_s * RECORD_RATE))
    return bool((np.abs(agent.astype(np.int32)) > AUDIBLE).any())


async def test_words_interrupt_the_reply(call: CallHarness, config: Config, speech: Path) -> None:
    s, more = call, item(speech, "ask03", config)
    await into_the_reply(s, item(speech, "ask02", config))
    start = s.input.say(more.pcm, at_s=s.now_s()) / USER_RATE
    onset, end = start + speech_onset_s(more.pcm), start + more.end_s
    async with asyncio.timeout(LIMIT_S):
        while s.output.audible_since is None or s.timeline.seconds(s.output.audible_since) < end:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert audible(s, onset - 1.0, onset + 0.05), "the agent was to be interrupted"
    assert not audible(s, onset + 0.75 * (end - onset), end), "the agent spoke on over the user"

    first = next(m for m in messages(s) if m.role == "assistant")
    heard = first.text_content or ""
    assert first.interrupted
    assert LONG_REPLY.startswith(heard), "the model is to remember what was said"
    assert heard
    assert not heard.endswith(" ")
    assert 2 <= len(heard.split()) <= 15, "about as many words as fit into the time: not the whole reply"
    (turn,) = s.turns()
    assert (turn.agent_text, turn.interrupted) == (heard, True)

    await s.session.interrupt()
    async with asyncio.timeout(LIMIT_S):
        await s.quiet(for_s=0.3)
    answer = s.turns()[-1]
    truth = json.loads((speech / "ask03.json").read_text())["text"].casefold().split()
    understood = answer.user_text.casefold()
    assert sum(word.strip("?.,") in understood for word in truth) >= 0.6 * len(truth), understood


@pytest.mark.parametrize("sound", ["throat", "okay"])
async def test_a_sound_without_words_only_pauses_it(
    call: CallHarness, config: Config, speech: Path, sound: str
) -> None:
    s = call
    pcm = throat() if sound == "throat" else load_item("text:Okay.", config).pcm
    await into_the_reply(s, item(speech, "ask02", config))
    reply = s.output.audible_since
    s.input.say(pcm, at_s=s.now_s())
    async with asyncio.timeout(LIMIT_S):
        while not s.output.pauses:  # noqa: ASYNC110 - paused, and gone on
            await asyncio.sleep(0.02)
    (since, until), *_ = s.output.pauses
    await asyncio.sleep(1.0)
    assert s.output.audible_since == reply, "it is to be the same reply"
    assert s.output.playing
    assert not audible(s, s.timeline.seconds(since) + 0.001, s.timeline.seconds(until) - 0.001)
    assert audible(s, s.timeline.seconds(until), s.timeline.seconds(until) + 1.0)
    assert [m.role for m in messages(s) if m.role != "system"] == ["user"], "it is no turn, and the reply is not over"
