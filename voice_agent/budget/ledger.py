"""The ledger of a turn: its marks, what is known about it, and the verdict of a budget. Pure: no I/O, no clock.

A :class:`TurnBuilder` collects while the turn lasts; :meth:`TurnBuilder.build` freezes it into a :class:`Turn`, which
derives everything else: voice-to-voice time, spans, hidden work. :func:`verdict` holds a turn to a :class:`Budget`.
``path.py`` has the rules by which the time is cut up; ``docs/ledger.md`` shows an example.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..config import BudgetConfig
from ..config.redaction import redact
from ..errors import ConfigError
from ..trace import GenerationTrace
from .path import NS_PER_MS, NS_PER_S, Mark, Marks, PathStep, Stage, critical_path, hidden_ns, spans_ns, to_ns

__all__ = [
    "Budget",
    "Failure",
    "Mark",
    "Models",
    "PathStep",
    "Speculation",
    "Stage",
    "Turn",
    "TurnBuilder",
    "Usage",
    "Verdict",
    "verdict",
]


@dataclass(frozen=True, slots=True)
class Models:
    """Who made the reply. None: not known, or not involved."""

    provider: str | None = None
    model: str | None = None
    stt_model: str | None = None
    voice: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the provider says of the played generation: tokens, and its own times where it gives them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    queue_ms: float | None = None
    prompt_ms: float | None = None
    completion_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Speculation:
    """Replies asked for before it was certain that the user had finished.

    ``requests`` counts all LLM requests of the turn, the played one included; ``used`` those of them that were sent
    before the commit and then played; ``thrown_away`` those never heard; ``tokens_wasted`` the completion tokens that
    these had produced.
    """

    requests: int = 0
    used: int = 0
    thrown_away: int = 0
    tokens_wasted: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a turn failed: the error's class name and its message, in one line, with anything like a key struck out."""

    kind: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        message = " ".join(redact(str(error)).split())
        return cls(type(error).__name__, message if len(message) <= 500 else message[:499] + "…")

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished turn. ``marks`` has every :class:`Mark`, in seconds on the monotonic line; None: it never happened.

    ``speech_ended_s`` and ``first_audible_s`` are positions on the recording's line, in seconds from its first sample.
    ``simulated`` names the parts that were not real (``"llm"``); ``evidence`` is any JSON about the decision to commit.
    """

    id: int | str
    marks: Marks
    item: str | None = None
    user_text: str = ""
    agent_text: str = ""
    models: Models = field(default_factory=Models)
    usage: Usage = field(default_factory=Usage)
    speculation: Speculation = field(default_factory=Speculation)
    interrupted: bool = False
    cut_off: bool = False
    reopened: bool = False
    simulated: tuple[str, ...] = ()
    error: Failure | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    speech_ended_s: float | None = None
    first_audible_s: float | None = None
    audio_gaps: int = 0
    audio_gaps_ms: float = 0.0
    acknowledged: float | None = None
    """When a word that was not the answer was first heard, in seconds on the line of the marks; None: none was."""
    degradation: Mapping[str, Any] = field(default_factory=dict)
    """What was done because the turn was late (docs/budget.md): any JSON by rung."""

    @property
    def path(self) -> tuple[PathStep, ...]:
        """The critical path; empty if the turn has no voice-to-voice time."""
        return critical_path(self.marks)

    @property
    def voice_to_voice_ns(self) -> int | None:
        """From the user's last sound to the agent's first.

        None if there is no answer, or if the agent was audible first: see :attr:`overlap_ms`.
        """
        between = self._between_ns(Mark.SPEECH_ENDED, Mark.FIRST_AUDIBLE)
        return between if between is not None and between >= 0 else None

    @property
    def voice_to_voice_ms(self) -> float | None:
        return None if (ns := self.voice_to_voice_ns) is None else ns / NS_PER_MS

    @property
    def first_audible_kind(self) -> str | None:
        """What the user heard first: an ``acknowledgement``, the ``answer``, or nothing (None)."""
        if self.acknowledged is not None:
            return "acknowledgement"
        return "answer" if self.answered else None

    @property
    def acknowledged_ms(self) -> float | None:
        """From the user's last sound to the acknowledgement; None if there was none, or it came first."""
        ended = self.marks[Mark.SPEECH_ENDED]
        if ended is None or self.acknowledged is None:
            return None
        between = to_ns(self.acknowledged) - to_ns(ended)
        return between / NS_PER_MS if between >= 0 else None

    @property
    def overlap_ms(self) -> float | None:
        """How long before the user's last sound the agent was already audible; None if it was not."""
        between = self._between_ns(Mark.FIRST_AUDIBLE, Mark.SPEECH_ENDED)
        return between / NS_PER_MS if between is not None and between > 0 else None

    @property
    def lead_ms(self) -> float | None:
        """How much earlier than the commit the played reply was asked for; negative if it was asked after it."""
        between = self._between_ns(Mark.LLM_REQUESTED, Mark.TURN_COMMITTED)
        return None if between is None else between / NS_PER_MS

    @property
    def spans_ms(self) -> dict[Stage, float]:
        return {stage: ns / NS_PER_MS for stage, ns in spans_ns(self.path).items()}

    @property
    def hidden_ms(self) -> dict[Stage, float]:
        return {stage: ns / NS_PER_MS for stage, ns in hidden_ns(self.path).items()}

    @property
    def answered(self) -> bool:
        """Whether the user heard anything."""
        return self.marks[Mark.FIRST_AUDIBLE] is not None

    @property
    def typed(self) -> bool:
        """The user typed it. Nobody spoke, so there is no voice-to-voice time: see :attr:`after_enter_ms`."""
        return self.evidence.get("input") == "typed"

    @property
    def after_enter_ms(self) -> float | None:
        """From Enter (a typed turn's commit) to the agent's first sound; None for what was spoken or not answered."""
        between = self._between_ns(Mark.TURN_COMMITTED, Mark.FIRST_AUDIBLE) if self.typed else None
        return None if between is None else between / NS_PER_MS

    @property
    def counts_for_latency(self) -> bool:
        """Whether its voice-to-voice time says something about speed.

        A cut-off is fast because it is wrong, and an apology is not a reply: both are counted, beside the latency.
        """
        return self.voice_to_voice_ns is not None and not self.cut_off and self.error is None

    def _between_ns(self, first: Mark, last: Mark) -> int | None:
        begin, end = self.marks[first], self.marks[last]
        return None if begin is None or end is None else to_ns(end) - to_ns(begin)


_MODEL_FACTS = tuple(f.name for f in dataclasses.fields(Models))
_USAGE_FACTS = tuple(f.name for f in dataclasses.fields(Usage))


@dataclass(slots=True)
class TurnBuilder:
    """A turn in the making. Set what becomes known; :meth:`build` may be called at any time, also for a failed turn."""

    id: int | str
    item: str | None = None
    marks: dict[Mark, float] = field(default_factory=dict)
    user_text: str = ""
    agent_text: str = ""
    models: Models = field(default_factory=Models)
    usage: Usage = field(default_factory=Usage)
    speculation: Speculation = field(default_factory=Speculation)
    interrupted: bool = False
    cut_off: bool = False
    reopened: bool = False
    simulated: list[str] = field(default_factory=list)
    error: Failure | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    speech_ended_s: float | None = None
    first_audible_s: float | None = None
    audio_gaps: int = 0
    audio_gaps_ms: float = 0.0
    acknowledged: float | None = None
    degradation: dict[str, Any] = field(default_factory=dict)
    other_marks: dict[str, float] = field(default_factory=dict)

    def mark(self, name: Mark | str, at_s: float) -> None:
        """Record when ``name`` happened. The first write wins. ValueError for an unknown name or a time not finite."""
        try:
            known = Mark(name)
        except ValueError:
            raise ValueError(f"no mark is called {name!r}; there are {', '.join(Mark)}") from None
        if not math.isfinite(at_s):
            raise ValueError(f"{known}: {at_s} is not a time; leave a mark out if it did not happen")
        self.marks.setdefault(known, at_s)

    def absorb(self, trace: GenerationTrace) -> None:
        """Take over the marks and facts of the generation that was played.

        Facts named like the fields of :class:`Models` and :class:`Usage` go there, ``simulated`` (a name or several)
        to :attr:`simulated`, all others to the evidence; marks that are not of the path to the evidence as well,
        in milliseconds after ``speech_ended``.
        """
        names = set(Mark)
        for name, at_s in trace.marks.items():
            if name in names:
                self.mark(name, at_s)
            else:
                self.other_marks.setdefault(name, at_s)
        facts = dict(trace.facts)
        self.models = dataclasses.replace(self.models, **{k: facts.pop(k) for k in _MODEL_FACTS if k in facts})
        self.usage = dataclasses.replace(self.usage, **{k: facts.pop(k) for k in _USAGE_FACTS if k in facts})
        self.simulate(facts.pop("simulated", ()))
        self.degradation.update(facts.pop("ladder", {}))
        self.evidence.update(facts)

    def simulate(self, parts: str | Iterable[str] | None) -> None:
        """Label parts of the turn as not real, each once."""
        for part in (parts,) if isinstance(parts, str) else parts or ():
            if part not in self.simulated:
                self.simulated.append(part)

    def fail(self, error: BaseException) -> None:
        """Record the turn as failed. The first error wins: the later ones are its consequences."""
        if self.error is None:
            self.error = Failure.of(error)

    def build(self) -> Turn:
        """The turn as it stands, frozen. An agent that was audible before the user had finished cut the user off."""
        marks: dict[Mark, float | None] = {mark: self.marks.get(mark) for mark in Mark}
        ended, audible = marks[Mark.SPEECH_ENDED], marks[Mark.FIRST_AUDIBLE]
        heard = [at for at in (audible, self.acknowledged) if at is not None]
        evidence = dict(self.evidence)
        if self.other_marks and ended is not None:
            evidence["other_marks_ms"] = {
                name: round((at_s - ended) * 1000, 1) for name, at_s in self.other_marks.items()
            }
        return Turn(
            id=self.id,
            marks=MappingProxyType(marks),
            item=self.item,
            user_text=self.user_text,
            agent_text=self.agent_text,
            models=self.models,
            usage=self.usage,
            speculation=self.speculation,
            interrupted=self.interrupted,
            cut_off=self.cut_off or (ended is not None and any(at < ended for at in heard)),
            reopened=self.reopened,
            simulated=tuple(self.simulated),
            error=self.error,
            evidence=MappingProxyType(evidence),
            speech_ended_s=self.speech_ended_s,
            first_audible_s=self.first_audible_s,
            audio_gaps=self.audio_gaps,
            audio_gaps_ms=self.audio_gaps_ms,
            acknowledged=self.acknowledged,
            degradation=MappingProxyType(dict(self.degradation)),
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """Milliseconds allowed in total and a stage. The shares need not sum to the total.

    Defaults are those of ``[budget]`` in the configuration; stages that it does not name have no share of their own.
    ``counts``: what ends the wait where an acknowledgement came before the answer: ``answer``, or the ``first`` sound.
    """

    total_ms: float = 500.0
    stt_ms: float = 100.0
    dispatch_ms: float = 0.0
    llm_ms: float = 200.0
    chunk_ms: float = 0.0
    tts_ms: float = 80.0
    endpointing_ms: float = 200.0
    output_ms: float = 30.0
    unattributed_ms: float = 0.0
    counts: str = "answer"

    def __post_init__(self) -> None:
        if self.counts not in ("answer", "first"):
            raise ConfigError(f"budget.counts = {self.counts}: write answer or first")
        for key in dataclasses.fields(self):
            if key.name == "counts":
                continue
            value: float = getattr(self, key.name)
            if not math.isfinite(value) or value < 0:
                raise ConfigError(f"budget.{key.name} = {value}: give milliseconds, 0 or more")
        if self.total_ms <= 0:
            raise ConfigError("budget.total_ms = 0: give the milliseconds that a turn may take, more than 0")

    @classmethod
    def from_config(cls, config: BudgetConfig) -> Budget:
        return cls(
            total_ms=config.total_ms,
            stt_ms=config.stt_ms,
            llm_ms=config.llm_ms,
            tts_ms=config.tts_ms,
            endpointing_ms=config.endpointing_ms,
            output_ms=config.output_ms,
            counts=config.counts,
        )

    @property
    def shares_ms(self) -> dict[Stage, float]:
        return {stage: getattr(self, f"{stage}_ms") for stage in Stage}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A turn held to a budget. ``over`` is None if the turn has no voice-to-voice time to hold.

    If ``over``, ``guilty`` is a stage and ``guilty_by_ms`` more than 0, by how much it exceeds its share.
    """

    over: bool | None
    over_by_ms: float = 0.0
    guilty: Stage | None = None
    guilty_by_ms: float = 0.0


def verdict(turn: Turn, budget: Budget) -> Verdict:
    """Whether ``turn`` took longer than ``budget`` allows, and which stage exceeds its share most.

    Shares that sum to more than the total allow a turn that is late although every stage kept to its share. Then the
    shares are scaled down to the total, and some stage exceeds its own: the spans sum to more than the shares do.
    """
    total = turn.voice_to_voice_ns
    if total is None:
        return Verdict(None)
    allowed = budget.total_ms * NS_PER_MS
    if budget.counts == "first" and (turn.acknowledged_ms or math.inf) <= budget.total_ms:
        return Verdict(False)
    if total <= allowed:
        return Verdict(False)
    spans = spans_ns(turn.path)
    shares = {stage: ms * NS_PER_MS for stage, ms in budget.shares_ms.items()}
    excess = {stage: ns - shares[stage] for stage, ns in spans.items()}
    if max(excess.values()) <= 0:
        scale = allowed / sum(shares.values())
        excess = {stage: ns - shares[stage] * scale for stage, ns in spans.items()}
    guilty = max(excess, key=excess.__getitem__)
    return Verdict(True, (total - allowed) / NS_PER_MS, guilty, excess[guilty] / NS_PER_MS)


def rebased(turn: Turn, grid_ns: int = NS_PER_MS // 10) -> Turn:
    """The turn with its marks relative to ``speech_ended`` (without one: to its first mark) and rounded to a grid.

    Everything derived from the result is derived from the rounded marks, so figures printed from it agree among
    themselves to the last digit. ``grid_ns`` in nanoseconds: 0.1 ms by default.
    """
    at = {mark: to_ns(seconds) for mark, seconds in turn.marks.items() if seconds is not None}
    origin = at.get(Mark.SPEECH_ENDED, min(at.values(), default=0))
    marks = {
        mark: ((at[mark] - origin + grid_ns // 2) // grid_ns) * grid_ns / NS_PER_S if mark in at else None
        for mark in Mark
    }
    acknowledged = turn.acknowledged
    if acknowledged is not None:
        acknowledged = ((to_ns(acknowledged) - origin + grid_ns // 2) // grid_ns) * grid_ns / NS_PER_S
    return dataclasses.replace(turn, marks=MappingProxyType(marks), acknowledged=acknowledged)
