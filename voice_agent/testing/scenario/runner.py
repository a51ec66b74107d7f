"""Run a script against the agent of this project, on the real-time line, and hold it to what was expected.

Each script has one session; every repetition begins with an empty history. What was measured before an interruption
is kept, and is on disk as soon as each step is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livekit.agents import function_tool

from ...budget.export import JsonlWriter
from ...budget.intervals import estimate_percentile
from ...budget.ledger import Budget
from ...clock import SYSTEM, Clock
from ...config import Config
from ...config import load as load_config
from ...errors import UsageError, VoiceAgentError
from ...pipeline.loaded_models import LoadedModels
from ..harness.run import CallHarness, call_harness, difference_ms
from ..harness.script_io import Echo
from ..verdict.baseline import public_config, this_machine, versions
from ..verdict.calibrate import Calibration
from . import schema
from .director import Director, Judge, OnStep
from .expect import check_whole
from .load import Script
from .results import AUDIO, RUN, STEPS, TURNS, Result, begin, clear, run_row, step_row, write_json
from .utterances import UtteranceSource


def configured(config: Config, scenario: schema.Scenario) -> Config:
    """``config`` with what the script sets itself: its settings, its model."""
    named = dict(scenario.settings)
    if scenario.llm is not None:
        named["llm.spec"] = scenario.llm
    wanted = load_config(env={}, flags=named)
    for name in named:
        section, _, key = name.partition(".")
        value = getattr(getattr(wanted, section), key)
        changed = dataclasses.replace(getattr(config, section), **{key: value})
        config = dataclasses.replace(config, **{section: changed})
    return config


def tools_of(scenario: schema.Scenario) -> list[Any]:
    """The script's tools as LiveKit's Agent takes them."""
    return [_tool(tool) for tool in scenario.tools]


def _tool(tool: schema.Tool) -> Any:
    async def run(raw_arguments: dict[str, object]) -> str:
        await asyncio.sleep(tool.takes)
        return tool.returns

    properties = {name: {"type": "string"} for name in tool.args}
    parameters = {"type": "object", "properties": properties, "required": list(tool.args)}
    return function_tool(
        run, raw_schema={"name": tool.name, "description": tool.description or tool.name, "parameters": parameters}
    )


async def run_script(
    script: Script,
    config: Config,
    folder: Path,
    *,
    repeat: int = 1,
    warmup: int | None = None,
    seed: int = 0,
    judge: Judge | None = None,
    utterance_source: UtteranceSource | None = None,
    shared: LoadedModels | None = None,
    on_step: OnStep = lambda step: None,
    on_note: Callable[[str], None] = lambda text: None,
    clock: Clock = SYSTEM,
) -> Result:
    """Go through ``script`` ``repeat`` times, and write the run directory ``folder``.

    ``warmup``: turns spoken first and not counted (default: the script's, else 1 if it is repeated). A fault of the
    agent is in the result; what keeps it from starting is raised.
    """
    scenario = script.scenario
    clear(folder)  # first of all: whatever stops this run, nothing of an earlier one is left to be taken for it
    config = configured(config, scenario)
    config = dataclasses.replace(config, turn=dataclasses.replace(config.turn, record_evidence=True))
    seed += scenario.seed
    result = Result(scenario.name, scenario.guards, script.path, "script", seed, folder)
    warm = warmup if warmup is not None else scenario.warmup if scenario.warmup is not None else int(repeat > 1)
    facts = facts_of(script, config, repeat=repeat, warmup=warm, clock=clock)
    begin(result, facts)
    loop = asyncio.get_running_loop()
    calibration = await loop.run_in_executor(None, Calibration, clock)
    utterance_source = utterance_source or UtteranceSource(config.tts.voice)
    how = scenario.perturb.echo
    echo = None if how is None else Echo(max(0.01, how.delay), how.level)
    async with call_harness(
        config,
        record=folder / AUDIO,
        echo=echo,
        on_note=on_note,
        tools=tools_of(scenario),
        shared=shared,
        clock=clock,
    ) as s:
        result.notes += s.pipeline.notes
        director = Director(script, s, utterance_source, seed, result, judge, calibration, on_step)
        try:
            with (
                JsonlWriter(folder / TURNS, Budget.from_config(config.budget)) as rows,
                (folder / STEPS).open("w") as f,
            ):
                director.outlets = (rows.write, lambda step: print(json.dumps(step_row(step)), file=f, flush=True))
                await director.play(repeat, warm)
        except asyncio.CancelledError:
            result.interrupted = True  # Ctrl-C: what was measured stays
        except VoiceAgentError as error:
            result.error = str(error)  # likewise
        finally:
            result.calibration_ms = calibration.samples_ms
            result.worst_lag_ms = s.mic.worst_lag_s * 1000
            if shared is None or not shared.doubled:  # a doubled voice is no speech that the VAD could find
                self_check(result, s)
    finish(result, scenario)
    write_json(folder / RUN, run_row(result, facts))
    return result


def facts_of(script: Script, config: Config, *, repeat: int, warmup: int, clock: Clock) -> dict[str, Any]:
    """What run.json says of the circumstances."""
    machine = this_machine()
    return {
        "began": clock.wall(),
        "repeat": repeat,
        "warmup": warmup,
        "machine": {**dataclasses.asdict(machine), "fingerprint": machine.fingerprint},
        "versions": versions(),
        "config": public_config(config),
        "scenario_text": script.scenario.model_dump(mode="json", exclude_defaults=True),
    }


def not_begun(
    script: Script, config: Config, folder: Path, error: Exception, *, target: str, repeat: int, warmup: int, seed: int
) -> Result:
    """The result of a script that could not even begin; the run directory says why."""
    result = Result(script.scenario.name, script.scenario.guards, script.path, target, seed, folder, error=str(error))
    facts = facts_of(script, config, repeat=repeat, warmup=warmup, clock=SYSTEM)
    with contextlib.suppress(UsageError):  # the folder itself may be what is wrong
        write_json(folder / RUN, run_row(result, facts))
    return result


def finish(result: Result, scenario: schema.Scenario) -> None:
    """The expectations of the whole, and the figures with their intervals."""
    result.whole = check_whole(scenario.expect, result.turns, result.unanswered)
    times = [t.voice_to_voice_ms for t in result.turns if t.counts_for_latency]
    latencies = [ms for ms in times if ms is not None]
    if latencies:
        result.intervals = {
            name: estimate_percentile(latencies, q, seed=result.seed)
            for name, q in (("p50_ms", 50.0), ("p95_ms", 95.0))
        }


def self_check(result: Result, s: CallHarness) -> None:
    """The ledger against the samples of the recording: the worst difference over all turns."""
    said = [step.said_s[0] for step in result.steps if step.said_s is not None]
    for step in result.steps:
        turn = step.row
        if turn is None or turn.speech_ended_s is None or turn.first_audible_s is None or turn.cut_off:
            continue
        if any(turn.speech_ended_s < at < turn.first_audible_s + 0.6 for at in said):
            continue  # spoken into the very reply: the samples alone do not tell which end is meant
        difference = difference_ms(s.line, turn)
        if difference is not None:
            result.worst_difference_ms = max(result.worst_difference_ms or 0.0, difference)
            result.compared += 1
