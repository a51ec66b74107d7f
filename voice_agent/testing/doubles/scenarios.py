"""A ``*.voice.yaml`` script on virtual time: synthetic speech with its words, a scripted model at its pace."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...clock import Clock
from ...config import Config
from ...errors import ConfigError
from ...stt.hypothesis import words_key
from ..scenario import stimulus
from ..scenario.configured import configured
from ..scenario.harness_end import HarnessTarget
from ..scenario.results import Result
from ..scenario.runner import run_script
from ..scenario.script_file import Script
from ..scenario.script_schema import Scenario, ScriptTurn
from ..scenario.user_schema import Backchannel, Perturb
from ..scenario.utterances import AROUND_S, UtteranceAudio, UtteranceSource
from .llm import Reply, canned
from .scripted_stages import ScriptedStages, deterministic
from .synthetic_speech import RATE, spoken
from .world import run


class ScriptedUtteranceSource(UtteranceSource):
    """Makes utterances whose samples carry their words (:mod:`.synthetic_speech`); perturbations are left out."""

    def __init__(self) -> None:
        super().__init__("scripted", say=lambda voice, text: spoken(text).pcm)

    def utterance(
        self, script: Script, turn: ScriptTurn | Backchannel, perturb: Perturb, seed: Iterable[int]
    ) -> UtteranceAudio:
        if isinstance(turn, ScriptTurn) and turn.dtmf is not None:
            return UtteranceAudio(stimulus.dtmf(turn.dtmf), None, None, True)
        parts: list[str | float] = []
        for piece in turn.say or turn.audio or ():
            if piece.hold is not None:
                parts.append(piece.hold)
            elif piece.say is not None:
                parts.append(piece.say)
            elif isinstance(turn, Backchannel):
                parts.append("mhm")
            elif piece.audio is not None and not (isinstance(turn, ScriptTurn) and turn.text):
                parts.append(_words_beside(script, piece.audio))
        if isinstance(turn, ScriptTurn) and turn.audio is not None and turn.text:
            holds = [part for part in parts if isinstance(part, float)]
            parts = _spread(turn.text, holds)
        around = np.zeros(round(AROUND_S * RATE), np.int16)
        said = spoken(*parts)
        return UtteranceAudio(np.concatenate([around, said.pcm, around]), AROUND_S, AROUND_S + said.end_s, True)


def _words_beside(script: Script, audio: str) -> str:
    """The words of a recording: ``text`` in the JSON file of its name (as in assets/speech). Raises ConfigError."""
    beside = (script.folder / audio).with_suffix(".json")
    try:
        return str(json.loads(beside.read_text())["text"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{script.path}: deterministic mode hears texts, not sound; give the words of {audio} beside it (text: ...,"
            f" or a file {beside.name} with a text), or run with --voice-mode=real"
        ) from None


def _texts(script: Script) -> list[str]:
    """What the user says in each turn, in words."""
    found = []
    for turn in script.scenario.turns:
        words = turn.words
        if not turn.text:
            words = " ".join(p.say or (_words_beside(script, p.audio) if p.audio else "") for p in turn.pieces)
        if words.strip():
            found.append(words)
    return found


def _spread(text: str, holds: list[float]) -> list[str | float]:
    """The words of a text with ``holds`` between equal shares of them."""
    words = text.split()
    shares = len(holds) + 1
    out: list[str | float] = []
    for i in range(shares):
        piece = words[len(words) * i // shares : len(words) * (i + 1) // shares]
        if piece:
            out.append(" ".join(piece))
        if i < len(holds):
            out.append(holds[i])
    return out


def without_content(scenario: Scenario) -> Scenario:
    """The script without what doubles cannot check: the words of replies (they are canned) and perturbations.

    An echo goes through an echo canceller, which changes every sample, and the words with them.
    """
    turns = tuple(
        turn.model_copy(update={"expect": turn.expect.model_copy(update={"says": None}), "perturb": None})
        for turn in scenario.turns
    )
    return scenario.model_copy(update={"turns": turns, "perturb": Perturb()})


def _replies(scenario: Scenario) -> dict[tuple[str, ...], dict[str, dict[str, object]]]:
    """Words of a turn -> the tools that the doubled model calls in it: those that the script expects."""
    calls: dict[tuple[str, ...], dict[str, dict[str, object]]] = {}
    known = {tool.name: tool for tool in scenario.tools}
    for turn in scenario.turns:
        for call in turn.expect.tool_called or ():
            tool = known.get(call.name)
            args: dict[str, object] = dict.fromkeys(tool.args if tool is not None else (), "")
            args.update(call.args or {})
            calls.setdefault(words_key(turn.words), {})[call.name] = args
    return calls


def run_deterministic(script: Script, config: Config, folder: Path, *, seed: int = 0, repeat: int = 1) -> Result:
    """Run a script on virtual time with doubled models, and write its run directory. docs/testing.md says what that
    can show and what it cannot."""
    script = Script(without_content(script.scenario), script.path, script.lines)
    calls, whole = _replies(script.scenario), _texts(script)
    wanted = deterministic(configured(config, script.scenario))

    async def main(clock: Clock) -> Result:
        parts = ScriptedStages(
            wanted,
            clock,
            replies=lambda text: Reply(canned(text), calls=calls.get(words_key(text), {})),
            whole=whole,
        )
        return await run_script(
            script,
            wanted,
            folder,
            repeat=repeat,
            seed=seed,
            utterance_source=ScriptedUtteranceSource(),
            target=HarnessTarget(parts.pool, clock),
            clock=clock,
        )

    return run(main, seed=seed)
