"""The whole AgentSession on virtual time with doubled stages: this project's agent, and somebody else's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, function_tool

from voice_agent.audio.timeline import Timeline
from voice_agent.budget.ledger import Turn
from voice_agent.clock import Clock
from voice_agent.config import load
from voice_agent.errors import UsageError
from voice_agent.testing.doubles import (
    Doubles,
    Reply,
    ScriptedInput,
    ScriptedLLM,
    ScriptedOutput,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedVAD,
    ScriptError,
    conversation,
    run,
)

QUESTION = "What is the weather like?"
LONG = "It is sunny and warm today, with a light wind from the west and a few clouds in the afternoon."


def test_a_question_and_its_answer() -> None:
    async def main(clock: Clock) -> tuple[Turn, list[str], str]:
        async with conversation(clock, replies=["It is sunny."]) as c:
            turn = await c.say(QUESTION)
            return turn, c.heard, await c.hear()

    turn, heard, said = run(main)
    assert turn.user_text == QUESTION
    assert turn.agent_text == said == "It is sunny."
    assert heard == ["It is sunny."]
    assert turn.voice_to_voice_ms is not None
    assert 150 < turn.voice_to_voice_ms < 500
    assert not turn.cut_off
    assert {"language model", "user speech", "time"} <= set(turn.simulated)


def test_the_model_keeps_the_pace_it_is_told() -> None:
    async def main(clock: Clock, spec: str) -> Turn:
        async with conversation(clock, load(env={}, flags={"llm.spec": spec})) as c:
            return await c.say(QUESTION)

    slow = run(lambda clock: main(clock, "sim:ttft=900ms"))
    assert {str(k): v for k, v in slow.spans_ms.items()}["llm"] == pytest.approx(900, abs=0.2)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("sim:error=429", "RateLimitedError"),
        ("sim:error=503", "ProviderUnavailableError"),
        ("sim:error=401", "ProviderAuthError"),
        ("sim:error=silence", "DeadlineError"),
    ],
)
def test_a_failing_provider_fails_the_turn_and_not_the_call(spec: str, kind: str) -> None:
    async def main(clock: Clock) -> tuple[Turn, bool]:
        async with conversation(clock, load(env={}, flags={"llm.spec": spec})) as c:
            turn = await c.say(QUESTION)
            return turn, c.call_harness.output.last_audible_end > c.call_harness.timeline.started_at

    turn, apology = run(main)
    assert turn.error is not None
    assert turn.error.kind == kind
    assert apology


def test_an_interrupted_reply_is_cut_where_the_user_spoke() -> None:
    async def main(clock: Clock) -> tuple[list[Turn], list[str]]:
        async with conversation(clock, replies=[LONG, "All right."]) as c:
            await c.start(QUESTION)
            await c.interrupt("Stop it now please.", after=1.5)
            return c.ledger, c.heard

    turns, heard = run(main)
    assert [t.user_text for t in turns] == [QUESTION, "Stop it now please."]
    assert turns[0].interrupted
    assert LONG.startswith(heard[0])
    assert 0 < len(heard[0]) < len(LONG)
    assert heard[-1] == "All right."


def test_silence_is_no_turn() -> None:
    async def main(clock: Clock) -> list[Turn]:
        async with conversation(clock, replies=[]) as c:
            await c.silence(20.0)
            return c.ledger

    assert run(main) == []


def test_left_over_and_unexpected_steps_are_told() -> None:
    async def left(clock: Clock) -> None:
        async with conversation(clock, replies=["One.", "Two."]) as c:
            await c.say(QUESTION)

    async def too_many(clock: Clock) -> None:
        async with conversation(clock, replies=[Reply("One.", to="hello")]) as c:
            await c.say(QUESTION)
            await c.say("And what about tomorrow?")

    with pytest.raises(ScriptError, match=r"never asked for: the reply to turn 2 'Two\.'"):
        run(left)
    with pytest.raises(ScriptError) as caught:
        run(too_many)
    assert "expected turn 1 to match 'hello'; what came is 'What is the weather like?'" in str(caught.value)
    assert "expected 1 turns; what came is turn 2, 'And what about tomorrow?'" in str(caught.value)


def test_an_error_in_the_block_is_not_hidden_by_left_over_steps() -> None:
    async def main(clock: Clock) -> None:
        async with conversation(clock, replies=["One.", "Two."]):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(main)


def test_nothing_to_interrupt_is_told() -> None:
    async def main(clock: Clock) -> None:
        async with conversation(clock, replies=[], patience_s=2.0) as c:
            await c.interrupt("Hello there.", after=0.5)

    with pytest.raises(ScriptError, match="nothing to interrupt"):
        run(main)


class Bank(Agent):
    """Somebody else's agent."""

    def __init__(self) -> None:
        super().__init__(instructions="You work for a bank.")
        self.asked: list[str] = []

    async def on_enter(self) -> None:
        self.session.say("Welcome to the bank.")

    @function_tool
    async def balance(self, account: str) -> str:
        """The balance of an account."""
        self.asked.append(account)
        await asyncio.sleep(2.0)
        return "12 dollars"


def test_somebody_elses_agent_on_a_plain_session() -> None:
    bank = Bank()

    def build(d: Doubles) -> tuple[AgentSession[Any], Agent]:
        return AgentSession(stt=d.stt, llm=d.llm, tts=d.tts, vad=d.vad, tts_text_transforms=None), bank

    async def main(clock: Clock) -> tuple[str, Turn, list[str]]:
        replies = [Reply("You have twelve dollars.", calls={"balance": {"account": "main"}})]
        async with conversation(clock, build=build, replies=replies) as c:
            greeting = await c.hear()
            return greeting, await c.say("What is my balance?"), c.heard

    greeting, turn, heard = run(main)
    assert greeting == "Welcome to the bank."
    assert bank.asked == ["main"]
    assert heard == ["Welcome to the bank.", "You have twelve dollars."]
    assert turn.voice_to_voice_ms is not None
    assert turn.voice_to_voice_ms > 2000


def test_the_doubles_alone() -> None:
    """Each double checks its own part; the session is wired by hand."""

    async def main(clock: Clock) -> list[str]:
        stt = ScriptedSTT(expected=["Good morning my dear."], clock=clock)
        model = ScriptedLLM(["Hello you."], clock=clock)
        voice = ScriptedTTS(expected=["Hello you."], clock=clock)
        session: AgentSession[Any] = AgentSession(stt=stt, llm=model, tts=voice, vad=ScriptedVAD())
        timeline = Timeline(None, clock)
        loudspeaker = ScriptedOutput(timeline, expected=["Hello you."])
        async with ScriptedInput(timeline) as microphone:
            session.input.audio, session.output.audio = microphone, loudspeaker
            await session.start(Agent(instructions="Be nice."))
            timeline.start()
            microphone.speak("Good morning my dear.")
            await asyncio.sleep(8.0)
            await session.aclose()
        for double in (stt, model, voice, loudspeaker):
            double.verify()
        for closing in (stt, model, voice):
            await closing.aclose()
        return loudspeaker.heard

    assert run(main) == ["Hello you."]


def test_doubles_report_what_did_not_come() -> None:
    async def main(clock: Clock) -> list[str]:
        said = []
        stt = ScriptedSTT(expected=["Hello."], clock=clock)
        voice = ScriptedTTS(expected=["Hello you."], clock=clock)
        loudspeaker = ScriptedOutput(Timeline(None, clock), expected=["Hello you."])
        for double in (stt, voice, loudspeaker):
            with pytest.raises(ScriptError) as caught:
                double.verify()
            said.append(str(caught.value))
        await stt.aclose()
        await voice.aclose()
        return said

    stt, voice, loudspeaker = run(main)
    assert "turn 1 'Hello.'" in stt
    assert "the TTS" in voice
    assert "'Hello you.'" in loudspeaker


def test_tools_go_to_the_agent_that_is_built() -> None:
    def build(d: Doubles) -> tuple[AgentSession[Any], Agent]:
        raise NotImplementedError

    async def main(clock: Clock) -> None:
        async with conversation(clock, build=build, tools=[object()]):
            pass

    with pytest.raises(UsageError, match="tools"):
        run(main)
