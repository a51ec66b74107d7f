"""Run a script against an agent, check what was expected, and write the run directory.

A script has one call. What was measured before an interruption is kept, and is on disk as soon as each step is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from ...budget.export import JsonlWriter
from ...budget.intervals import estimate_percentile
from ...budget.turn_verdict import Budget
from ...clock import SYSTEM, Clock
from ...config import Config
from ...errors import UsageError, VoiceAgentError
from ..verdict.baseline import public_config, this_machine, versions
from ..verdict.calibrate import Calibration
from .director import Director, End, Judge, OnStep
from .expect import check_whole
from .results import RUN, STEPS, TURNS, Result, StepResult, begin, clear, run_row, step_row, write_json
from .script_file import Script
from .script_schema import Scenario
from .utterances import UtteranceSource


class Target(Protocol):
    """Which agent a script is played to. ``name``: in the result; ``notes``: what holds for every run of it."""

    @property
    def name(self) -> str: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def prepared(self, script: Script, config: Config) -> Config:
        """The configuration for ``script``. Raises UsageError for a script that this target cannot play."""

    def opened(
        self, script: Script, config: Config, folder: Path, on_note: Callable[[str], None]
    ) -> AbstractAsyncContextManager[End]:
        """The call: an end to speak and listen through."""


async def run_script(
    script: Script,
    config: Config,
    folder: Path,
    *,
    target: Target,
    repeat: int = 1,
    warmup: int | None = None,
    seed: int = 0,
    judge: Judge | None = None,
    utterance_source: UtteranceSource | None = None,
    on_step: OnStep = lambda step: None,
    on_note: Callable[[str], None] = lambda text: None,
    clock: Clock = SYSTEM,
) -> Result:
    """Go through ``script`` ``repeat`` times, and write the run directory ``folder``.

    ``warmup``: turns spoken first and not counted (default: the script's, else 1 if it is repeated). A fault of the
    agent is in the result; what keeps the call from starting is raised.
    """
    scenario = script.scenario
    clear(folder)  # before anything can fail: no file of an earlier run is left
    config = target.prepared(script, config)
    result = Result(scenario.name, scenario.guards, script.path, target.name, seed + scenario.seed, folder)
    result.notes += target.notes
    warm = warmup if warmup is not None else scenario.warmup if scenario.warmup is not None else int(repeat > 1)
    facts = facts_of(script, config, repeat=repeat, warmup=warm, clock=clock)
    begin(result, facts)
    calibration = await asyncio.get_running_loop().run_in_executor(None, Calibration, clock)
    source = utterance_source or UtteranceSource(config.tts.voice)
    async with target.opened(script, config, folder, on_note) as end:
        result.notes += end.notes
        with contextlib.ExitStack() as stack:
            try:
                keep = _keeper(result, config, stack)

                def closed(step: StepResult) -> None:
                    keep(step)
                    on_step(step)

                await Director(script, end, source, calibration, closed, result.seed, judge).play(repeat, warm)
            except asyncio.CancelledError:
                result.interrupted = True  # Ctrl-C: what was measured stays
            except VoiceAgentError as error:
                result.error = str(error)  # likewise
            finally:
                result.calibration_ms = calibration.samples_ms
                end.finish(result, folder)
    finish(result, scenario)
    write_json(folder / RUN, run_row(result, facts))
    return result


def _keeper(result: Result, config: Config, stack: contextlib.ExitStack) -> OnStep:
    """Keeps each step in ``result`` and on disk."""
    rows = stack.enter_context(JsonlWriter(result.folder / TURNS, Budget.from_config(config.budget)))
    steps = stack.enter_context((result.folder / STEPS).open("w"))

    def keep(step: StepResult) -> None:
        result.steps.append(step)
        if step.row is not None:
            rows.write(step.row)
        print(json.dumps(step_row(step)), file=steps, flush=True)

    return keep


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
    """The result of a script that could not begin; the run directory says why."""
    result = Result(script.scenario.name, script.scenario.guards, script.path, target, seed, folder, error=str(error))
    facts = facts_of(script, config, repeat=repeat, warmup=warmup, clock=SYSTEM)
    with contextlib.suppress(UsageError):  # the folder itself may be the fault
        write_json(folder / RUN, run_row(result, facts))
    return result


def finish(result: Result, scenario: Scenario) -> None:
    """Add the expectations of the whole, and the figures with their intervals."""
    result.whole = check_whole(scenario.expect, result.turns, result.unanswered)
    times = [t.voice_to_voice_ms for t in result.turns if t.counts_for_latency]
    latencies = [ms for ms in times if ms is not None]
    if latencies:
        result.intervals = {
            name: estimate_percentile(latencies, q, seed=result.seed)
            for name, q in (("p50_ms", 50.0), ("p95_ms", 95.0))
        }
