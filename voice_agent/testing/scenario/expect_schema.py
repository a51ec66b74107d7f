"""The script language, what is expected: of one turn, and of the whole conversation."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ...budget.ledger import Stage
from .schema_base import Pattern, Strict
from .units import Duration, Share

LABELS_OF_STAGES = tuple(str(stage) for stage in Stage)


class TextExpect(Strict):
    """Conditions on a text; all that are given must hold."""

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


Text = Annotated[TextExpect, BeforeValidator(_words, json_schema_input_type=str | TextExpect)]


class ExpectedCall(Strict):
    """A tool call expected in a turn. ``args``: the named ones must be equal."""

    name: str
    args: dict[str, Any] | None = None


def _calls(value: Any) -> Any:
    entries = value if isinstance(value, list) else [value]
    return [{"name": entry} if isinstance(entry, str) else entry for entry in entries]


Calls = Annotated[
    tuple[ExpectedCall, ...],
    BeforeValidator(_calls, json_schema_input_type=str | ExpectedCall | list[str | ExpectedCall]),
]


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
