"""``voice-agent script`` as a user runs it: in a process of its own, with the real models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from livekit.local_inference import VAD

from voice_agent.audio.resampling import resample
from voice_agent.budget.export import read_jsonl

pytestmark = pytest.mark.e2e

Int16 = npt.NDArray[np.int16]
SIM = "sim:ttft=170ms,tps=2314"
CANARY = "canary-4f9d2c7e1b8a"
CLIPS = ("ask01", "ask02", "sense05")
LOUD = 300


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str
    folder: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "out.jsonl").read_text().splitlines()]

    def tracks(self) -> tuple[int, Int16, Int16]:
        """The recording's rate, the user's and the agent's samples."""
        with wave.open(str(self.folder / "out.wav"), "rb") as f:
            assert (f.getnchannels(), f.getsampwidth()) == (2, 2)
            pcm = np.frombuffer(f.readframes(f.getnframes()), "<i2").reshape(-1, 2)
            return f.getframerate(), pcm[:, 0], pcm[:, 1]


def command(folder: Path, items: Sequence[str], *more: str) -> list[str]:
    return [
        sys.executable, "-m", "voice_agent.cli", "script", *items, "--whisper", "tiny.en",
        "--record", str(folder / "out.wav"), "--jsonl", str(folder / "out.jsonl"), *more,
    ]  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("VOICE_AGENT_")} | more


def run(folder: Path, items: Sequence[str], *more: str, **env: str) -> Ran:
    done = subprocess.run(
        command(folder, items, *more), capture_output=True, text=True, timeout=150, env=environment(**env), check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr, folder)


def speech_windows(pcm: Int16, rate: int) -> list[tuple[float, float]]:
    """Begin and end of every stretch of the VAD's speech, in seconds, split where it pauses for more than 1 s."""
    pcm16, vad, found = resample(pcm, rate, 16_000), VAD(), list[tuple[float, float]]()
    for i in range(0, len(pcm16) - 511, 512):
        if vad.predict(np.ascontiguousarray(pcm16[i : i + 512])) > 0.5:
            begin, end = i / 16_000, (i + 512) / 16_000
            if found and begin - found[-1][1] < 1.0:
                found[-1] = (found[-1][0], end)
            else:
                found.append((begin, end))
    return found


def onset_after(pcm: Int16, rate: int, at_s: float) -> float:
    """When the agent is first loud from ``at_s`` on, in seconds."""
    start = max(0, round(at_s * rate))
    return (start + int(np.flatnonzero(np.abs(pcm[start:].astype(np.int32)) > LOUD)[0])) / rate


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Ran:
    """Three clips answered by the pacing double; run once, looked at by many tests."""
    return run(tmp_path_factory.mktemp("script"), [str(speech / f"{name}.wav") for name in CLIPS], "--llm", SIM)


class TestConversation:
    def test_every_turn_is_answered(self, ran: Ran) -> None:
        assert ran.code == 0, ran.out + ran.err
        assert [row["item"] for row in ran.rows] == [f"{name}.wav" for name in CLIPS]
        assert [row["turn"] for row in ran.rows] == [1, 2, 3]
        for row in ran.rows:
            assert row["error"] is None
            assert row["agent_text"]
            assert row["voice_to_voice_ms"] > 0
            assert not row["cut_off"]
        assert "Traceback" not in ran.out + ran.err

    def test_the_user_was_understood(self, ran: Ran, speech: Path) -> None:
        for row in ran.rows:
            true = json.loads((speech / row["item"]).with_suffix(".json").read_text())["text"].casefold()
            heard = row["user_text"].casefold()
            shared = sum(word.strip(".?!,") in heard for word in true.split())
            assert shared >= len(true.split()) * 0.6, (heard, true)

    def test_the_rows_are_turns_of_the_schema(self, ran: Ran) -> None:
        turns, problems = read_jsonl(ran.folder / "out.jsonl")
        assert problems == []
        assert len(turns) == 3
        for row, turn in zip(ran.rows, turns, strict=True):
            assert row["schema"] == 1
            assert row["simulated"] == ["language model"]
            assert (row["models"]["stt"], row["models"]["voice"]) == ("tiny.en", "en_US-joe-medium")
            assert all(at is not None for at in row["marks_ms"].values()), row["marks_ms"]
            assert turn.voice_to_voice_ms == pytest.approx(row["voice_to_voice_ms"])
            assert row["speculation"]["requests"] >= 1

    def test_the_spans_sum_to_the_total(self, ran: Ran) -> None:
        for row in ran.rows:
            assert sum(row["spans_ms"].values()) == pytest.approx(row["voice_to_voice_ms"], abs=0.05)
            assert row["spans_ms"]["unattributed"] == 0

    def test_the_ledger_agrees_with_the_recording(self, ran: Ran) -> None:
        rate, user, agent = ran.tracks()
        spoken = speech_windows(user, rate)
        assert len(spoken) == len(ran.rows), spoken
        for row, (begin, end) in zip(ran.rows, spoken, strict=True):
            measured_ms = (onset_after(agent, rate, begin) - end) * 1000
            assert measured_ms == pytest.approx(row["voice_to_voice_ms"], abs=20), row["item"]
            assert row["speech_ended_s"] == pytest.approx(end, abs=0.04)

    def test_the_program_has_compared_them_too(self, ran: Ran) -> None:
        assert "ledger against recording: worst difference" in ran.out
        assert "n=3" in ran.out

    def test_it_says_which_model_answered(self, ran: Ran) -> None:
        assert "simulated" in ran.err
        assert "P50" in ran.out


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Ran:
    items = [str(speech / "ask02.wav"), str(speech / "ask03.wav")]
    spec = f"{SIM},error=500"
    return run(tmp_path_factory.mktemp("failure"), items, "--llm", spec, "--gap", "4", OPENAI_API_KEY=CANARY)


class TestFailure:
    def test_the_call_goes_on_and_every_turn_is_recorded_as_failed(self, failed: Ran) -> None:
        assert failed.code == 1, failed.out + failed.err
        assert [row["item"] for row in failed.rows] == ["ask02.wav", "ask03.wav"]
        for row in failed.rows:
            assert row["error"]["type"] == "ProviderUnavailableError", row["error"]
            assert row["error"]["message"]
            assert row["voice_to_voice_ms"] is None
            assert row["user_text"]
        assert "Traceback" not in failed.out

    def test_the_apology_is_heard(self, failed: Ran) -> None:
        rate, user, agent = failed.tracks()
        spoken = speech_windows(user, rate)
        assert len(spoken) == 2
        said = speech_windows(agent, rate)
        assert any(spoken[0][1] < begin and end - begin > 1.0 for begin, end in said), said

    def test_no_key_is_shown(self, failed: Ran) -> None:
        assert CANARY not in failed.out + failed.err + (failed.folder / "out.jsonl").read_text()


def test_a_key_is_never_shown(tmp_path: Path, speech: Path) -> None:
    """A provider that is not there: its key is sent nowhere and said nowhere."""
    ran = run(tmp_path, [str(speech / "ask02.wav")], "--base-url", "http://127.0.0.1:9/v1", "--api-key", CANARY)
    assert ran.code in (1, 2)
    assert CANARY not in ran.out + ran.err
    jsonl = tmp_path / "out.jsonl"
    assert not jsonl.exists() or CANARY not in jsonl.read_text()
    assert "Traceback" not in ran.err


def test_ctrl_c_leaves_what_was_measured(tmp_path: Path, speech: Path) -> None:
    items = [str(speech / f"{name}.wav") for name in CLIPS]
    child = subprocess.Popen(
        command(tmp_path, items, "--llm", SIM, "--repeat", "20"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    jsonl = tmp_path / "out.jsonl"
    try:
        for _ in range(1200):  # until the first turn is on disk
            if child.poll() is not None or (jsonl.exists() and jsonl.read_bytes().count(b"\n") >= 1):
                break
            try:
                child.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
    ran = Ran(child.returncode, out, err, tmp_path)
    assert ran.code == 130, err
    assert "Traceback" not in out + err
    turns, problems = read_jsonl(jsonl)
    assert turns
    assert problems == []
    assert all(turn.answered for turn in turns)
    rate, user, agent = ran.tracks()
    assert turns[0].first_audible_s is not None
    assert len(user) / rate > turns[0].first_audible_s
    assert np.abs(user).max() > LOUD
    assert np.abs(agent.astype(np.int32)).max() > LOUD
    assert "P50" in out
