"""The script language: what a ``*.voice.yaml`` file may say. ``docs/scenarios.md`` explains it by example.

All models are frozen and refuse unknown keys. Durations are seconds once read. The parts are in ``user_schema.py``
(what the user does) and ``expect_schema.py`` (what is expected). ``voice-agent test --schema`` prints the JSON Schema
for editors (:func:`json_schema`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ...config import load as load_config
from ...errors import ConfigError
from ...llm.sim_spec import parse_spec
from .expect_schema import TurnExpect, WholeExpect
from .schema_base import Strict
from .units import Duration
from .user_schema import Backchannel, Interrupt, Perturb, Played, Said, UtterancePart, as_backchannel


class ScriptTurn(Strict):
    """One step. The user says something, presses keys, keeps silent, or listens."""

    name: str | None = None
    say: Said | None = None
    audio: Played | None = None
    text: str | None = Field(default=None, description="What a recording says (for word errors, and for the reader).")
    voice: str | None = None
    dtmf: Annotated[str, Field(pattern=r"^[0-9*#A-D]+$")] | None = Field(default=None, description="Keys, in quotes.")
    silence: Duration | None = Field(default=None, description="The user says nothing for this long.")
    listen: Duration | None = Field(default=None, description="The agent speaks first, within this time.")
    interrupt: Interrupt | None = None
    backchannel: Annotated[
        Backchannel, BeforeValidator(as_backchannel, json_schema_input_type=str | Backchannel)
    ] | None = None  # fmt: skip
    perturb: Perturb | None = Field(default=None, description="In place of the scenario's own.")
    expect: TurnExpect = TurnExpect()

    @model_validator(mode="after")
    def _one(self) -> Self:
        kinds = ("say", "audio", "dtmf", "silence", "listen")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            raise ValueError(f"a turn is one of {', '.join(kinds)}; here: {said}")
        if self.interrupt is not None and not self.spoken:
            raise ValueError("interrupt needs something to say (say or audio)")
        if (self.expect.stops_within is not None) and self.interrupt is None:
            raise ValueError("stops_within is about a turn with interrupt")
        if self.expect.resumes is not None and self.backchannel is None:
            raise ValueError("resumes is about a turn with a backchannel")
        return self

    @property
    def spoken(self) -> bool:
        return self.say is not None or self.audio is not None

    @property
    def pieces(self) -> tuple[UtterancePart, ...]:
        return self.say or self.audio or ()

    @property
    def words(self) -> str:
        """What the user says, as far as the script knows it."""
        return self.text or " ".join(p.say for p in self.pieces if p.say)

    @property
    def label(self) -> str:
        """What reports call it."""
        kind = next(kind for kind in ("dtmf", "silence", "listen", "say", "audio") if getattr(self, kind) is not None)
        recordings = " ".join(p.audio.rpartition("/")[2] for p in self.pieces if p.audio)
        return self.name or self.words or recordings or (f"keys {self.dtmf}" if self.dtmf else kind)

    @property
    def wants_answer(self) -> bool:
        """Whether silence of the agent is a fault here."""
        if self.expect.answered is not None:
            return self.expect.answered
        return self.silence is None


class ScriptTool(Strict):
    """A tool the agent is given for this scenario; it answers with what stands here."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    description: str = ""
    args: tuple[str, ...] = Field(default=(), description="Names of its arguments, all texts.")
    returns: str = "ok"
    takes: Duration = Field(default=0.0, description="How long it works.")


_SIM = re.compile(r"sim\s*\((.*)\)", re.DOTALL)


def _llm(text: str) -> str:
    """``sim(ttft=170ms, error=429)`` or a specification as ``--llm`` takes it."""
    match = _SIM.fullmatch(text.strip())
    spec = f"sim:{match[1]}" if match else text.strip()
    if spec.split(":")[0] == "sim":
        try:
            parse_spec(spec)
        except ConfigError as error:
            raise ValueError(str(error)) from None
    return spec


def _settings(value: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    try:
        load_config(env={}, flags=value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


class Scenario(Strict):
    """One conversation, and what is expected of it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")] = Field(description="Also the name of its files.")
    guards: str = Field(default="", description="In one line: which fault this would catch.")
    seed: int = Field(default=0, ge=0, description="Seed of noise and loss; --seed is added to it.")
    voice: str | None = Field(default=None, description="Piper voice of what the user says.")
    llm: Annotated[str, AfterValidator(_llm)] | None = Field(
        default=None, description="As --llm takes it, or sim(...)."
    )
    settings: Annotated[dict[str, str | int | float | bool], AfterValidator(_settings)] = Field(
        default_factory=dict, description="Any settings, such as turn.patience: 0.7"
    )
    tools: tuple[ScriptTool, ...] = ()
    perturb: Perturb = Perturb()
    gap: Duration = Field(default=0.7, description="Silence between a reply and the next turn.")
    patience: Duration = Field(default=8.0, description="How long a reply is waited for.")
    warmup: int | None = Field(default=None, ge=0, description="Turns spoken first and not counted.")
    times: int = Field(
        default=1, ge=1, le=1000, description="The turns are gone through so often, in one conversation."
    )
    turns: tuple[ScriptTurn, ...] = Field(min_length=1)
    expect: WholeExpect = WholeExpect()

    @model_validator(mode="after")
    def _first(self) -> Self:
        if self.turns[0].interrupt is not None:
            raise ValueError("the first turn has nothing to interrupt")
        return self


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a script, for editors (``# yaml-language-server: $schema=...``)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Scenario.model_json_schema(mode="validation")}
