"""The ledger of a turn: its marks and what is known about it. Pure: no I/O, no clock.

A :class:`TurnBuilder` collects during the turn; :meth:`TurnBuilder.build` freezes it into a :class:`Turn`, which
derives the voice-to-voice time, the spans and the hidden work. ``path.py`` has the rules for the spans,
``turn_verdict.py`` the budget; ``docs/ledger.md`` shows an example.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..config.redaction import redact
from ..trace import GenerationTrace
from .path import NS_PER_MS, Mark, Marks, PathStep, Stage, critical_path, hidden_ns, spans_ns, to_ns

__all__ = ["Failure", "Mark", "Models", "Speculation", "Stage", "Turn", "TurnBuilder", "Usage"]


@dataclass(frozen=True, slots=True)
class Models:
    """The provider and the models of the reply. None: unknown, or not used."""

    provider: str | None = None
    model: str | None = None
    stt_model: str | None = None
    voice: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The provider's report on the played generation: tokens, and its own times if it reports them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    queue_ms: float | None = None
    prompt_ms: float | None = None
    completion_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Speculation:
    """Replies that were requested before the end of turn was certain.

    ``requests`` counts all LLM requests of the turn, including the played one; ``used`` those that were sent before the
    end of turn and then played; ``thrown_away`` those never played; ``tokens_wasted`` the completion tokens of these.
    """

    requests: int = 0
    used: int = 0
    thrown_away: int = 0
    tokens_wasted: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a turn failed: the exception's class name and its message on one line, redacted."""

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
    """One finished turn. ``marks`` has every :class:`Mark`, in seconds on the monotonic clock; None: it did not happen.

    ``speech_ended_s`` and ``first_audible_s`` are positions in the recording, in seconds from its first sample.
    ``simulated`` names the parts that were not real (``"llm"``); ``evidence`` is JSON about the end-of-turn decision.
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
    """When an acknowledgement was first audible, on the clock of the marks; None without one."""
    degradation: Mapping[str, Any] = field(default_factory=dict)
    """The degradation steps of the turn (docs/budget.md): JSON by the name of the step."""

    @property
    def path(self) -> tuple[PathStep, ...]:
        """The critical path; empty if the turn has no voice-to-voice time."""
        return critical_path(self.marks)

    @property
    def voice_to_voice_ns(self) -> int | None:
        """From the end of the user's speech to the first audible sample of the answer.

        None without an answer, or if the agent was audible first: see :attr:`overlap_ms`.
        """
        between = self._between_ns(Mark.SPEECH_ENDED, Mark.FIRST_AUDIBLE)
        return between if between is not None and between >= 0 else None

    @property
    def voice_to_voice_ms(self) -> float | None:
        return None if (ns := self.voice_to_voice_ns) is None else ns / NS_PER_MS

    @property
    def first_audible_kind(self) -> str | None:
        """What was audible first: an ``acknowledgement``, the ``answer``, or nothing (None)."""
        if self.acknowledged is not None:
            return "acknowledgement"
        return "answer" if self.answered else None

    @property
    def acknowledged_ms(self) -> float | None:
        """From the end of the user's speech to the acknowledgement; None without one, or if it came first."""
        ended = self.marks[Mark.SPEECH_ENDED]
        if ended is None or self.acknowledged is None:
            return None
        between = to_ns(self.acknowledged) - to_ns(ended)
        return between / NS_PER_MS if between >= 0 else None

    @property
    def overlap_ms(self) -> float | None:
        """How long before the end of the user's speech the agent was audible; None if it was not."""
        between = self._between_ns(Mark.FIRST_AUDIBLE, Mark.SPEECH_ENDED)
        return between / NS_PER_MS if between is not None and between > 0 else None

    @property
    def lead_ms(self) -> float | None:
        """How long before the end of turn the played reply was requested; negative if it was requested after it."""
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
        """Whether an answer was audible."""
        return self.marks[Mark.FIRST_AUDIBLE] is not None

    @property
    def typed(self) -> bool:
        """Whether the turn was typed. It has no voice-to-voice time: see :attr:`after_enter_ms`."""
        return self.evidence.get("input") == "typed"

    @property
    def after_enter_ms(self) -> float | None:
        """From Enter to the first audible sample of the answer; None for a spoken or an unanswered turn."""
        between = self._between_ns(Mark.TURN_COMMITTED, Mark.FIRST_AUDIBLE) if self.typed else None
        return None if between is None else between / NS_PER_MS

    @property
    def counts_for_latency(self) -> bool:
        """Whether its voice-to-voice time counts for the session's latency.

        Not that of a cut-off, which is fast because it is wrong, nor that of an apology. Both are counted separately.
        """
        return self.voice_to_voice_ns is not None and not self.cut_off and self.error is None

    def _between_ns(self, first: Mark, last: Mark) -> int | None:
        begin, end = self.marks[first], self.marks[last]
        return None if begin is None or end is None else to_ns(end) - to_ns(begin)


_MODEL_FACTS = tuple(f.name for f in dataclasses.fields(Models))
_USAGE_FACTS = tuple(f.name for f in dataclasses.fields(Usage))


@dataclass(slots=True)
class TurnBuilder:
    """A turn while it lasts. Set what becomes known; :meth:`build` may be called at any time, also for a failed
    turn."""

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
        """Record when ``name`` happened. The first write wins. Raises ValueError for an unknown name or a time not
        finite."""
        try:
            known = Mark(name)
        except ValueError:
            raise ValueError(f"no mark is called {name!r}; there are {', '.join(Mark)}") from None
        if not math.isfinite(at_s):
            raise ValueError(f"{known}: {at_s} is not a time; leave a mark out if it did not happen")
        self.marks.setdefault(known, at_s)

    def absorb(self, trace: GenerationTrace) -> None:
        """Copy the marks and facts of the generation that was played.

        Facts named like fields of :class:`Models` and :class:`Usage` go there, ``simulated`` (a name or several) to
        :attr:`simulated`, ``ladder`` to :attr:`degradation`, all others to the evidence. Marks outside the path go to
        the evidence as well, in milliseconds after ``speech_ended``.
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
        """Add to the parts of the turn that are simulated, each once."""
        for part in (parts,) if isinstance(parts, str) else parts or ():
            if part not in self.simulated:
                self.simulated.append(part)

    def fail(self, error: BaseException) -> None:
        """Record the turn as failed. The first error wins: later ones are its consequences."""
        if self.error is None:
            self.error = Failure.of(error)

    def build(self) -> Turn:
        """The turn so far, frozen. If the agent was audible before the end of the user's speech, it is a cut-off."""
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
