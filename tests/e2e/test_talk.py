"""``voice-agent talk`` as a person runs it: terminal, sound server, real models; the LLM is simulated."""

from __future__ import annotations

import json
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.json_talk import JsonTalk
from tests.support.pulse import Pulse, running
from tests.support.terminal import OnTerminal
from voice_agent.audio.files import read_audio
from voice_agent.budget.export import read_jsonl

pytestmark = pytest.mark.e2e

SIM = "sim:ttft=170ms,tps=2314"
LOUD = 300
REPLIES = 5


@pytest.fixture(scope="module")
def pulse() -> Iterator[Pulse]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def talked(pulse: Pulse, speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OnTerminal, Path]]:
    """One conversation: a spoken turn, keys, a typed turn, quit. Many tests look at what it left."""
    folder = tmp_path_factory.mktemp("talk") / "kept"
    argv = [sys.executable, "-m", "voice_agent.cli", "talk", "--whisper", "tiny.en", "--llm", SIM]
    t = OnTerminal([*argv, "--save", str(folder), "--screenshot", str(folder / "screen.svg")], pulse.environment)
    try:
        t.wait_for("listening", limit_s=90)
        clip = read_audio(speech / "ask02.wav")
        pulse.say(clip.samples, clip.sample_rate).wait(timeout=60)
        t.wait_for("o output")  # the legend above the first turn
        t.press(b" ")
        t.wait_for("muted")
        t.press(b"b")
        t.wait_for("marks, in ms after the user's last sound")
        t.press(b"/by hand\r")
        t.wait_for("ms from Enter")
        t.press(b"q")
        t.code = t.end()
        yield t, folder
    finally:
        t.close()


class TestConversation:
    def test_it_ends_well(self, talked: tuple[OnTerminal, Path]) -> None:
        t, _ = talked
        assert t.code == 0, t.read()
        assert t.restored()
        assert "Traceback" not in t.read()

    def test_the_screen(self, talked: tuple[OnTerminal, Path]) -> None:
        text = talked[0].read()
        for words in (
            "hearing",
            "speaking",
            "simulated-70b",
            "mic ",
            "you    ",
            "agent  ",
            "P50",
            "cut off 0",
        ):
            assert words in text, words
        assert "saved in" in text

    def test_the_rows(self, talked: tuple[OnTerminal, Path]) -> None:
        turns, problems = read_jsonl(talked[1] / "turns.jsonl")
        assert problems == []
        assert [turn.typed for turn in turns] == [False, True]
        spoken, typed = turns
        assert spoken.voice_to_voice_ms is not None
        assert spoken.speech_ended_s is not None
        assert spoken.first_audible_s is not None
        assert spoken.first_audible_s > spoken.speech_ended_s > 0
        assert spoken.agent_text
        assert typed.user_text == "by hand"
        assert typed.voice_to_voice_ms is None
        assert typed.error is None
        assert typed.after_enter_ms is not None
        assert typed.after_enter_ms > 0

    def test_the_user_was_understood(self, talked: tuple[OnTerminal, Path], speech: Path) -> None:
        true = json.loads((speech / "ask02.json").read_text())["text"].casefold().split()
        heard = read_jsonl(talked[1] / "turns.jsonl")[0][0].user_text.casefold()
        assert sum(word.strip(".?!,") in heard for word in true) >= len(true) * 0.6, heard

    def test_the_recording_holds_both_sides(self, talked: tuple[OnTerminal, Path]) -> None:
        spoken = read_jsonl(talked[1] / "turns.jsonl")[0][0]
        with wave.open(str(talked[1] / "conversation.wav"), "rb") as f:
            assert f.getnchannels() == 2
            rate = f.getframerate()
            pcm = np.frombuffer(f.readframes(f.getnframes()), "<i2").reshape(-1, 2).astype(np.int32)
        assert spoken.speech_ended_s is not None
        assert spoken.first_audible_s is not None
        before, after = round(spoken.speech_ended_s * rate), round(spoken.first_audible_s * rate)
        assert np.abs(pcm[:before, 0]).max() > LOUD
        assert np.abs(pcm[: after - rate // 50, 1]).max() <= LOUD, "the agent was heard before its first audible sample"
        assert np.abs(pcm[after : after + rate // 2, 1]).max() > LOUD

    def test_the_transcript(self, talked: tuple[OnTerminal, Path]) -> None:
        page = (talked[1] / "transcript.md").read_text()
        assert "**You** (typed)**:** by hand" in page
        assert "ms voice to voice" in page
        assert "**Simulated: language model.**" in page

    def test_the_picture(self, talked: tuple[OnTerminal, Path]) -> None:
        picture = (talked[1] / "screen.svg").read_text()
        assert picture.startswith("<svg")
        assert "listening" in picture or "muted" in picture


def test_json_and_lines_from_a_pipe(pulse: Pulse) -> None:
    """A program talks: a line in, events out, and a signal ends it."""
    with JsonTalk(pulse, "--llm", SIM) as call:
        call.type("by hand")
        call.wait_for("turn")
        assert call.end() == 128 + 15
        call.wait(lambda: call.events[-1]["event"] == "ended")
    names = [event["event"] for event in call.events]
    assert names.index("progress") < names.index("ready") < names.index("heard") < names.index("turn")
    assert names[-1] == "ended"
    turn = call.all("turn")[0]["turn"]
    assert (turn["user_text"], turn["voice_to_voice_ms"], turn["evidence"]["input"]) == ("by hand", None, "typed")
    spoken = "".join(event["text"] for event in call.all("saying"))
    assert spoken.split() == turn["agent_text"].split()
    assert call.said == [], "nothing is to be complained about on standard error"


def test_the_agent_hears_its_own_echo_and_speaks_on(speech: Path) -> None:
    """The loudspeaker comes back into the microphone 80 ms late and 6 dB softer: five replies, none interrupted."""
    with (
        running() as pulse,
        JsonTalk(pulse, "--llm", f"{SIM},reply=long", "--set", "llm.max_completion_tokens=36") as call,
    ):
        call.wait_for("ready")
        pulse.echo(delay_ms=80, gain_db=-6)
        for number in range(1, REPLIES + 1):
            clip = read_audio(speech / f"ask0{1 + number % 4}.wav")
            pulse.say(clip.samples, clip.sample_rate).wait(timeout=60)
            call.wait_for("turn", number)
        time.sleep(3.0)  # the last echo would become a turn now
    turns = [event["turn"] for event in call.all("turn")]
    print([(turn["user_text"], turn["agent_text"][-24:], turn["interrupted"]) for turn in turns])
    assert len(turns) == REPLIES
    assert [turn["interrupted"] for turn in turns] == [False] * REPLIES
    whole = {turn["agent_text"] for turn in turns}
    assert len(whole) == 1, "each reply is spoken to its end"
    assert len(whole.pop().split()) > 20
