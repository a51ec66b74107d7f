"""Runs to report on: directories as ``voice-agent test`` leaves them, with as many turns and as much sound as asked."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from voice_agent.budget.export import JsonlWriter
from voice_agent.budget.intervals import estimate_percentile
from voice_agent.budget.ledger import Failure, Mark, Models, Speculation, Turn, TurnBuilder
from voice_agent.budget.turn_verdict import Budget
from voice_agent.testing.scenario.expect import Check
from voice_agent.testing.scenario.results import (
    AUDIO,
    RUN,
    STEPS,
    TURNS,
    Result,
    StepResult,
    run_row,
    step_row,
    write_json,
)

RATE = 24_000
EVERY_S = 4.0

Make: TypeAlias = Callable[..., Path]

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1> `@octocat` | [a](http://x.y) #1"
"""A text that tries to be markup in HTML, in Markdown and in XML."""


def turn_of(number: int, *, text: str = "", late_ms: float = 0.0, rng: np.random.Generator | None = None) -> Turn:
    """A turn that ends at ``number * EVERY_S`` on the recording, with evidence."""
    spread = 0.0 if rng is None else float(rng.gamma(2.0, 40.0))
    ended = number * EVERY_S
    at = {"llm_requested": -40.0, "transcript_ready": 60.0, "llm_first_content": 200.0 + spread + late_ms}
    at |= {"chunk_ready": 206 + spread + late_ms, "tts_first_audio": 270 + spread + late_ms, "turn_committed": 250.0}
    at |= {"first_audible": 290 + spread + late_ms, "speech_ended": 0.0}
    builder = TurnBuilder(number, item=f"{number % 7} question", user_text=text or f"Question number {number}?")
    builder.agent_text = f"Answer number {number}."
    for mark, ms in at.items():
        builder.mark(Mark(mark), ended + ms / 1000)
    builder.speech_ended_s, builder.first_audible_s = ended, ended + at["first_audible"] / 1000
    builder.models = Models("simulated", "simulated-70b", "tiny.en", "joe")
    builder.speculation = Speculation(3, 1, 2, 41)
    builder.simulate("language model")
    builder.interrupted, builder.cut_off = number % 11 == 0, number % 13 == 0
    if number % 17 == 0:
        builder.error = Failure("RateLimitedError", "429")
    windows = [[round(ended - 1 + i * 0.032, 3), 1.0 if i < 31 else 0.02] for i in range(60)]
    builder.evidence = {
        "reason": "held long enough",
        "waited_ms": 250.0,
        "recorded": {
            "settings": {}, "began_s": ended - 1, "windows": windows,
            "passes": [[ended - 0.5, ended - 0.3, "Question"], [ended, ended + 0.06, "Question number?"]],
            "scores": [["question", -6.0, 0.02], ["question number", -1.2, 0.02]],
            "reopened": False,
        },
    }  # fmt: skip
    return builder.build()


def sides(turns: list[Turn], seconds: float) -> bytes:
    """Noise for the user's words, a tone for the agent's."""
    both = np.zeros((round(seconds * RATE), 2), np.int16)
    rng = np.random.default_rng(1)
    for turn in turns:
        assert turn.speech_ended_s is not None
        assert turn.first_audible_s is not None
        end, begin = round(turn.speech_ended_s * RATE), round(turn.first_audible_s * RATE)
        both[end - RATE : end, 0] = rng.normal(0, 3000, RATE).astype(np.int16)
        both[begin : begin + RATE, 1] = (9000 * np.sin(np.arange(RATE) / 12)).astype(np.int16)
    return both.tobytes()


def write_wav(path: Path, frames: bytes, rate: int = RATE) -> None:
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(frames)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(name, turns=, text=, late_ms=, sound=, in_=, **changes)``: a run directory. ``changes``: of run.json."""

    def go(
        name: str = "hotel",
        *,
        turns: int = 12,
        text: str = "",
        late_ms: float = 0.0,
        sound: bool = False,
        in_: str = "runs",
        **changes: Any,
    ) -> Path:
        folder = tmp_path / in_ / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(3)
        rows = [turn_of(n, text=text, late_ms=late_ms, rng=rng) for n in range(1, turns + 1)]
        result = Result(name, "a caller who asks is served", Path(f"{name}.voice.yaml"), "script", 0, folder)
        for place, row in enumerate(rows):
            held = Check("within 500 ms", (row.voice_to_voice_ms or 0.0) <= 500, f"{row.voice_to_voice_ms:.0f} ms")
            said = (row.marks[Mark.SPEECH_ENDED] or 0.0) - 1.0, (row.marks[Mark.SPEECH_ENDED] or 0.0)
            result.steps.append(
                StepResult(
                    place,
                    -1 if place == 0 else 0,
                    "speech",
                    row.user_text,
                    3 + place,
                    row.user_text,
                    said,
                    (held,),
                    row,
                    answered=True,
                )
            )  # fmt: skip
        result.steps.append(
            StepResult(turns, 0, "silence", "silence", 99, "", None, (Check("silent", True, "yes"),), None)
        )
        result.calibration_ms = [20.0 + n % 3 for n in range(12)]
        times = [ms for t in result.turns if t.counts_for_latency and (ms := t.voice_to_voice_ms) is not None]
        result.intervals = {k: estimate_percentile(times, q) for k, q in (("p50_ms", 50.0), ("p95_ms", 95.0))}
        with JsonlWriter(folder / TURNS, Budget()) as writer:
            for row in rows:
                writer.write(row)
        (folder / STEPS).write_text("".join(json.dumps(step_row(step)) + "\n" for step in result.steps))
        facts = {
            "began": 1.7e9,
            "repeat": 1,
            "machine": {"cpu": "a processor", "cores": 2},
            "versions": {"python": "3"},
        }
        write_json(folder / RUN, {**run_row(result, facts), **changes})
        if sound:
            write_wav(folder / AUDIO, sides(rows, (turns + 2) * EVERY_S))
        return folder

    return go
