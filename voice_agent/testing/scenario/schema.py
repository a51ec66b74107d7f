"""The script language: what a ``*.voice.yaml`` file may say. ``docs/scenarios.md`` explains it by example.

All models are frozen and refuse keys that they do not know. Durations are seconds once read.
``voice-agent test --schema`` prints the JSON Schema for editors (:func:`json_schema`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ...budget.ledger import Stage
from ...config import load as load_config
from ...errors import ConfigError
from ...llm.local.sim import parse_spec
from .units import Duration, Level, Share

LABELS_OF_STAGES = tuple(str(stage) for stage in Stage)


class Strict(BaseModel):
    """Base of all: frozen, and an unknown key is answered with those that are known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError("unknown_key", "{text}", {"text": did_you_mean(key, cls), "key": key})
        return data


def did_you_mean(key: object, model: type[BaseModel]) -> str:
    """What to say of a key that ``model`` does not have."""
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown key {key!r}; {guess}allowed here: {', '.join(known)}"


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


# --- what the user does -----------------------------------------------------------------------------------------------


class Piece(Strict):
    """A part of what the user says: one of ``say``, ``audio``, ``hold`` (a pause)."""

    say: str | None = Field(
        default=None, min_length=1, description="Words spoken by a Piper voice; labelled synthetic."
    )
    audio: str | None = Field(default=None, description="A WAV file, relative to the script.")
    hold: Duration | None = Field(default=None, description="A pause, such as 0.8s.")
    voice: str | None = Field(default=None, description="Piper voice of these words.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.say, self.audio, self.hold)) != 1:
            raise ValueError("a piece is one of say, audio or hold")
        if self.voice is not None and self.say is None:
            raise ValueError("voice belongs to say: a recording has its own")
        return self


def _pieces(kind: str) -> Callable[[Any], Any]:
    def normal(value: Any) -> Any:
        entries = [value] if isinstance(value, str | Mapping) else value
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{kind} takes a text, or a list of texts and pieces such as {{hold: 0.8s}}")
        return [{kind: entry} if isinstance(entry, str) else entry for entry in entries]

    return normal


_Loose = str | list[str | Piece]
Said = Annotated[tuple[Piece, ...], BeforeValidator(_pieces("say"), json_schema_input_type=_Loose)]
Played = Annotated[tuple[Piece, ...], BeforeValidator(_pieces("audio"), json_schema_input_type=_Loose)]


class Interrupt(Strict):
    """This turn is spoken while the agent still answers the one before."""

    after: Duration = Field(default=1.0, description="How long after the agent's first sound the user begins.")


class Backchannel(Strict):
    """A short sound of agreement while the agent answers this turn."""

    say: Said | None = None
    audio: Played | None = None
    voice: str | None = None
    after: Duration = Field(default=0.8, description="How long after the agent's first sound.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.say is None) == (self.audio is None):
            raise ValueError("a back-channel is one of say or audio")
        return self


def _backchannel(value: Any) -> Any:
    return {"say": value} if isinstance(value, str) else value


class Noise(Strict):
    """Noise under the user's speech, as loud as the ratio says (RMS of the speech against RMS of the noise)."""

    snr: Level
    kind: Literal["white", "pink", "babble", "file"] = "pink"
    file: str | None = Field(default=None, description="The recording, for kind: file; repeated as often as needed.")

    @model_validator(mode="after")
    def _file(self) -> Self:
        if (self.kind == "file") != (self.file is not None):
            raise ValueError("kind: file and file: PATH.wav go together")
        return self


class Echo(Strict):
    """The agent's own voice comes back into the user's microphone."""

    delay: Duration = 0.12
    level: Level = Field(default=-20.0, le=0.0)


class Loss(Strict):
    """20 ms packets lost or late on the way, simulated on the samples (the network itself is not involved)."""

    rate: Share = 0.05
    jitter: Duration = 0.0
    buffer: Duration = Field(
        default=0.06, description="Depth of the jitter buffer: what comes later than this is lost."
    )
    conceal: Literal["repeat", "silence"] = "repeat"


class Perturb(Strict):
    """What is done to the user's sound, in the order of this list."""

    speed: float | None = Field(
        default=None, ge=0.5, le=2.0, description="1.1 is a tenth faster; the pitch moves with it."
    )
    gain: Level | None = None
    phone: bool = Field(default=False, description="8 kHz telephone band, 300 to 3400 Hz, mu-law.")
    noise: Noise | None = None
    loss: Loss | None = None
    echo: Echo | None = None


# --- what is expected -------------------------------------------------------------------------------------------------


class Words(Strict):
    """What a text must be like: all that is given must hold."""

    regex: Pattern | None = Field(default=None, description="Searched for, upper or lower case.")
    text: str | None = Field(default=None, description="The words expected; for heard, left out, those that were said.")
    wer: Share | None = Field(default=None, description="Word error rate allowed against text.")
    judge: str | None = Field(
        default=None, description="A criterion in plain words, asked of a model (only with --judge)."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.regex is None and self.wer is None and self.judge is None:
            raise ValueError("give regex, wer or judge")
        return self


def _words(value: Any) -> Any:
    return {"regex": value} if isinstance(value, str) else value


Text = Annotated[Words, BeforeValidator(_words, json_schema_input_type=str | Words)]


class Call(Strict):
    """A tool call expected in a turn. ``args``: those named must be equal."""

    name: str
    args: dict[str, Any] | None = None


def _calls(value: Any) -> Any:
    entries = value if isinstance(value, list) else [value]
    return [{"name": entry} if isinstance(entry, str) else entry for entry in entries]


Calls = Annotated[tuple[Call, ...], BeforeValidator(_calls, json_schema_input_type=str | Call | list[str | Call])]


def _stages(value: dict[str, float]) -> dict[str, float]:
    for name in value:
        if name not in LABELS_OF_STAGES:
            close = difflib.get_close_matches(name, LABELS_OF_STAGES, n=1, cutoff=0.5)
            guess = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"no stage is called {name!r}; {guess}there are {', '.join(LABELS_OF_STAGES)}")
    return value


class TurnExpect(Strict):
    """What must hold of one turn."""

    within: Duration | None = Field(default=None, description="Voice to voice, at most.")
    stages: Annotated[dict[str, Duration], AfterValidator(_stages)] = Field(
        default_factory=dict, description="Milliseconds a stage of the critical path may take."
    )
    heard: Text | None = Field(default=None, description="What the agent understood of the user.")
    says: Text | None = Field(default=None, description="What the agent answered.")
    tool_called: Calls | None = None
    must_not_cut_off: bool = Field(default=False, description="The agent stays silent until the user has finished.")
    stops_within: Duration | None = Field(
        default=None, description="How soon the agent falls silent once the user speaks."
    )
    resumes: bool | None = Field(
        default=None, description="After a back-channel the agent goes on (true) or stays silent."
    )
    answered: bool | None = Field(
        default=None, description="Whether the user hears an answer (false: silence is right)."
    )
    error: Pattern | None = Field(default=None, description="The turn fails, and the error reads like this.")


class WholeExpect(Strict):
    """What must hold of the whole conversation."""

    p50: Duration | None = None
    p95: Duration | None = None
    cut_offs: int | None = Field(default=None, ge=0, description="At most.")
    unanswered: int | None = Field(default=None, ge=0, description="At most, of the turns that want an answer.")
    failed: int | None = Field(default=None, ge=0, description="At most.")
    wasted_tokens: int | None = Field(default=None, ge=0, description="At most, a turn on average.")
    gaps: int | None = Field(default=None, ge=0, description="Times the sound ran dry inside replies, at most.")


# --- the script -------------------------------------------------------------------------------------------------------


class Turn(Strict):
    """One step. The user says something, presses keys, keeps silent, or listens."""

    name: str | None = None
    say: Said | None = None
    audio: Played | None = None
    text: str | None = Field(default=None, description="What a recording says (for word errors, and for the reader).")
    voice: str | None = None
    dtmf: Annotated[str, Field(pattern=r"^[0-9*#A-D]+$")] | None = Field(default=None, description="Keys, in quotes.")
    silence: Duration | None = Field(default=None, description="The user says nothing for so long.")
    listen: Duration | None = Field(default=None, description="The agent speaks first, within this time.")
    interrupt: Interrupt | None = None
    backchannel: Annotated[
        Backchannel, BeforeValidator(_backchannel, json_schema_input_type=str | Backchannel)
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
    def pieces(self) -> tuple[Piece, ...]:
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


class Tool(Strict):
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
    tools: tuple[Tool, ...] = ()
    perturb: Perturb = Perturb()
    gap: Duration = Field(default=0.7, description="Silence between a reply and the next turn.")
    patience: Duration = Field(default=8.0, description="How long a reply is waited for.")
    warmup: int | None = Field(default=None, ge=0, description="Turns spoken first and not counted.")
    times: int = Field(
        default=1, ge=1, le=1000, description="The turns are gone through so often, in one conversation."
    )
    turns: tuple[Turn, ...] = Field(min_length=1)
    expect: WholeExpect = WholeExpect()

    @model_validator(mode="after")
    def _first(self) -> Self:
        if self.turns[0].interrupt is not None:
            raise ValueError("the first turn has nothing to interrupt")
        return self


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a script, for editors (``# yaml-language-server: $schema=...``)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Scenario.model_json_schema(mode="validation")}
