"""The turns that one utterance gave, as one row of the ledger. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ...audio.timeline import Timeline
from ...budget.ledger import Mark, Turn, TurnBuilder

OVERLAP_SETTLED_S = 3.0  # after speech into a reply and this much quiet, the agent took the speech for no turn
MARGIN_S = 0.35  # the STT's end of speech may lie this much before the clip's own end and still be that end
T = TypeVar("T")


def scenes(entries: Iterable[T], into_reply: Callable[[T], bool]) -> list[list[T]]:
    """Group each entry with those after it that are spoken into its reply."""
    found: list[list[T]] = []
    for entry in entries:
        if into_reply(entry) and found:
            found[-1].append(entry)
        else:
            found.append([entry])
    return found


def turns_of_each(turns: Sequence[Turn], begins: Sequence[float]) -> list[list[Turn]]:
    """The turns of each utterance of a scene, by their end of speech. ``begins``: when each utterance began, monotonic.

    Turns that ended before the second utterance began belong to the first.
    """
    bounds = [0.0, *begins[1:], float("inf")]
    return [
        [t for t in turns if begin <= (t.marks[Mark.SPEECH_ENDED] or 0.0) < until]
        for begin, until in itertools.pairwise(bounds)
    ]


def row_of(
    number: int, name: str, end_at: float, turns: Sequence[Turn], timeline: Timeline, *, synthetic: bool
) -> Turn:
    """The turns that one utterance gave, as one row with id ``number`` and item ``name``.

    ``end_at``: where its speech ends (monotonic). Without a turn that has heard that end, the row is unanswered.
    ``synthetic``: the user's speech was made by TTS; the row says so.
    """
    final = [t for t in turns if (t.marks[Mark.SPEECH_ENDED] or 0.0) >= end_at - MARGIN_S]
    answer = final[-1] if final else _unanswered(number, end_at, turns)
    audible = [t.marks[Mark.FIRST_AUDIBLE] for t in turns]
    early = [at for at in audible if at is not None and at < end_at - 0.001]
    marks = answer.marks
    ended, heard = marks[Mark.SPEECH_ENDED], marks[Mark.FIRST_AUDIBLE]
    evidence = dict(answer.evidence)
    if len(turns) > 1 or (turns and not final):
        evidence["fragments"] = [
            {"user_text": t.user_text, "agent_text": t.agent_text, "cut_off": bool(t in turns[:-1])} for t in turns
        ]
    return dataclasses.replace(
        answer,
        id=number,
        item=name,
        user_text=" ".join(t.user_text for t in turns if t.user_text) or answer.user_text,
        cut_off=bool(early),
        interrupted=answer.interrupted,
        simulated=(*answer.simulated, *(("user speech",) if synthetic else ())),
        evidence=evidence,
        speech_ended_s=None if ended is None else timeline.seconds(ended),
        first_audible_s=None if heard is None else timeline.seconds(heard),
    )


def _unanswered(number: int, end_at: float, turns: Sequence[Turn]) -> Turn:
    if turns:
        return turns[-1]
    builder = TurnBuilder(number)
    builder.mark(Mark.SPEECH_ENDED, end_at)
    builder.fail(TimeoutError("no reply: nothing was recognised as speech, or no turn was committed"))
    return builder.build()
