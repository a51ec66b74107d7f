"""The critical path of a turn: which stage each nanosecond of the voice-to-voice time belongs to. Pure.

The time from the user's last speech sample to the agent's first audible sample is cut at the marks of the played
reply::

    speech_ended ─stt─ transcript_ready ─dispatch─ llm_requested ─llm─ llm_first_content ─chunk─ chunk_ready
                                                                                                     │
                            first_audible ─output─ turn_committed ─endpointing─ tts_first_audio ─tts─┘

Read backwards, this is a chain of causes: the output waited for the end of turn and for the first audio, the audio for
the text, and so on. With the following four rules the pieces sum to the total exactly (in whole nanoseconds):

1. Work before the end of the user's speech adds no latency. It is clipped at ``speech_ended`` and kept beside the path
   as *hidden* time, never added to it.
2. The end-of-turn gate comes last: *endpointing* is only the time that the end-of-turn decision added after everything
   else was ready. One exception: a request that was sent after the end of turn had waited for it, so the gate comes
   before the request.
3. A mark later than its own effect is not its cause. For ``transcript_ready`` this is ordinary (the reply was requested
   for an earlier text) and the mark is skipped. Any other such mark contradicts the row, and the pieces that contain it
   are unattributed.
4. A piece belongs to a stage only if both marks around it exist and nothing unknown can lie between them. Everything
   else is *unattributed*, with the marks that enclose it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Mark(StrEnum):
    """An instant of a turn, in seconds on one monotonic clock. They are listed in causal order."""

    SPEECH_ENDED = "speech_ended"
    """The user's last speech sample was captured. Known only in hindsight; not when the VAD detected it."""
    TRANSCRIPT_READY = "transcript_ready"
    """The transcript that the played reply was made from was ready."""
    LLM_REQUESTED = "llm_requested"
    LLM_FIRST_CONTENT = "llm_first_content"
    """The first content of the played generation; reasoning is not content."""
    CHUNK_READY = "chunk_ready"
    """The first speakable chunk of text was complete."""
    TTS_FIRST_AUDIO = "tts_first_audio"
    TURN_COMMITTED = "turn_committed"
    """The decision that the user has finished (end of turn)."""
    FIRST_AUDIBLE = "first_audible"
    """The first audible sample left the device, or was handed to the room's track."""


class Stage(StrEnum):
    """The stages of the path, in its order."""

    STT = "stt"
    DISPATCH = "dispatch"
    LLM = "llm"
    CHUNK = "chunk"
    TTS = "tts"
    ENDPOINTING = "endpointing"
    OUTPUT = "output"
    UNATTRIBUTED = "unattributed"


Marks = Mapping[Mark, float | None]

_CHAIN = (
    Mark.SPEECH_ENDED,
    Mark.TRANSCRIPT_READY,
    Mark.LLM_REQUESTED,
    Mark.LLM_FIRST_CONTENT,
    Mark.CHUNK_READY,
    Mark.TTS_FIRST_AUDIO,
)
_STAGE_BETWEEN = dict(
    zip(itertools.pairwise(_CHAIN), (Stage.STT, Stage.DISPATCH, Stage.LLM, Stage.CHUNK, Stage.TTS), strict=True)
)


@dataclass(frozen=True, slots=True)
class PathStep:
    """One piece of the path: ``[start_ns, end_ns)`` on the monotonic clock, between the marks that enclose it.

    ``hidden_ns``: the part of the same work before the end of the user's speech, which adds no latency.
    """

    stage: Stage
    start_mark: Mark
    end_mark: Mark
    start_ns: int
    end_ns: int
    hidden_ns: int = 0

    @property
    def ns(self) -> int:
        return self.end_ns - self.start_ns


def to_ns(seconds: float) -> int:
    """Seconds to whole nanoseconds, whose differences and sums are exact."""
    return round(seconds * NS_PER_S)


def critical_path(marks: Marks) -> tuple[PathStep, ...]:
    """Cut the time from ``speech_ended`` to ``first_audible`` into adjacent steps without a gap.

    Empty if one of the two marks is missing, or if the agent was audible before the end of the user's speech.
    """
    at = {mark: to_ns(seconds) for mark, seconds in marks.items() if seconds is not None}
    start, end = at.get(Mark.SPEECH_ENDED), at.get(Mark.FIRST_AUDIBLE)
    if start is None or end is None or end < start:
        return ()
    commit = at.get(Mark.TURN_COMMITTED)
    if commit is not None and commit > end:
        commit = None  # it did not gate this audio; the gate's place is unknown
    chain, contradictions = _chain_of_causes(at, end)

    steps: list[PathStep] = []

    def add(stage: Stage, first: Mark, last: Mark, begin: int, finish: int) -> None:
        low, high = max(begin, start), max(finish, start)
        if any(low < wrong < high for wrong in contradictions):
            stage = Stage.UNATTRIBUTED
        works = stage not in (Stage.ENDPOINTING, Stage.UNATTRIBUTED)
        hidden = max(0, min(finish, start) - min(begin, start)) if works else 0
        steps.append(PathStep(stage, first, last, low, high, hidden))

    for first, last in itertools.pairwise(chain):
        stage = _STAGE_BETWEEN.get((first, last), Stage.UNATTRIBUTED)
        if stage is Stage.DISPATCH and commit is None:
            stage = Stage.UNATTRIBUTED  # unknown whether the request waited for the end of turn
        if stage is Stage.DISPATCH and commit is not None and at[first] < commit <= at[last]:
            add(Stage.ENDPOINTING, first, Mark.TURN_COMMITTED, at[first], commit)
            add(Stage.DISPATCH, Mark.TURN_COMMITTED, last, commit, at[last])
        else:
            add(stage, first, last, at[first], at[last])

    ready_mark = chain[-1]
    ready = max(at[ready_mark], start)
    if ready_mark is Mark.TTS_FIRST_AUDIO and commit is not None:
        gate = max(ready, commit)
        add(Stage.ENDPOINTING, ready_mark, Mark.TURN_COMMITTED, ready, gate)
        add(Stage.OUTPUT, Mark.TURN_COMMITTED if commit > ready else ready_mark, Mark.FIRST_AUDIBLE, gate, end)
    else:
        add(Stage.UNATTRIBUTED, ready_mark, Mark.FIRST_AUDIBLE, ready, end)
    return tuple(steps)


def spans_ns(path: tuple[PathStep, ...]) -> dict[Stage, int]:
    """Nanoseconds of each stage, in the order of the path; their sum is the path's length. Empty for an empty path.

    A stage that no mark explains is absent (0 would mean that it took no time); ``unattributed`` is always present.
    """
    if not path:
        return {}
    sums = dict.fromkeys((step.stage for step in path), 0) | {Stage.UNATTRIBUTED: 0}
    for step in path:
        sums[step.stage] += step.ns
    return {stage: sums[stage] for stage in Stage if stage in sums}


def hidden_ns(path: tuple[PathStep, ...]) -> dict[Stage, int]:
    """Nanoseconds that each stage worked before the end of the user's speech; not part of the path's sums."""
    sums = dict.fromkeys(Stage, 0)
    for step in path:
        sums[step.stage] += step.hidden_ns
    return {stage: ns for stage, ns in sums.items() if ns}


def _chain_of_causes(at: Mapping[Mark, int], end: int) -> tuple[list[Mark], list[int]]:
    """Walk back from the output: the marks that can be its causes, first to last, and the instants that contradict."""
    kept: list[Mark] = []
    contradictions: list[int] = []
    limit = end
    for mark in reversed(_CHAIN[1:]):
        instant = at.get(mark)
        if instant is None:
            continue
        if instant <= limit:
            kept.append(mark)
            limit = instant
        elif mark is not Mark.TRANSCRIPT_READY:
            contradictions.append(instant)
    return [Mark.SPEECH_ENDED, *reversed(kept)], contradictions
