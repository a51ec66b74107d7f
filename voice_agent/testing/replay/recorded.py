"""What a turn policy was given, as a value: from one clip, or from the rows of a recorded conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...budget.ledger import Turn
from ...budget.stage_times import StageTimes, stage_times
from ...errors import UsageError

WINDOW_S = 0.032
SPEECH = 0.5
GOES_ON_WITHIN_S = 1.5  # speech this soon after the end of a turn belongs to that turn


@dataclass(slots=True)
class Evidence:
    """One utterance; times in seconds on one timeline.

    ``windows``: (end, VAD probability). ``passes``: (begun, ready, text so far). ``scores``: words -> (score of
    the end-of-turn model, seconds it took).
    ``acoustic``: end of speech before a pause, 3 decimals -> v1-mini's probability 0.2 s later (benchmarks only).
    ``energy_drop``: ends of the windows with an energy drop.
    """

    name: str
    kind: str
    speech_end_s: float
    windows: list[tuple[float, float]] = field(default_factory=list)
    passes: list[tuple[float, float, str]] = field(default_factory=list)
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)
    acoustic: dict[str, float] = field(default_factory=dict)
    energy_drop: list[float] = field(default_factory=list)

    @property
    def pauses(self) -> list[tuple[float, float | None]]:
        """(end of speech, when speech goes on, or None) for each silence after the first speech."""
        found: list[tuple[float, float | None]] = []
        ended: float | None = None
        for i, (end, p) in enumerate(self.windows):
            if p > SPEECH:
                if ended is not None and end - WINDOW_S > ended + 1e-6:
                    found.append((ended, end - WINDOW_S))
                ended = end
            if i == len(self.windows) - 1 and ended is not None and ended < end:
                found.append((ended, None))
        return found


@dataclass(frozen=True, slots=True)
class Recorded:
    """An utterance of a conversation: what its policy was given, and what it did. ``settings``: of ``[turn]``.

    ``turns``: its rows; more than one where the user was cut off and went on.
    """

    evidence: Evidence
    stage_times: StageTimes
    settings: Mapping[str, Any]
    turns: tuple[Turn, ...]

    @property
    def delay_ms(self) -> float | None:
        """Voice to voice, as it was measured."""
        return self.turns[-1].voice_to_voice_ms

    @property
    def cut_off(self) -> bool:
        return any(t.cut_off for t in self.turns)

    @property
    def requests(self) -> int:
        return sum(t.speculation.requests for t in self.turns)

    @property
    def tokens_wasted(self) -> int:
        return sum(t.speculation.tokens_wasted for t in self.turns)


def recorded(turns: Sequence[Turn]) -> tuple[list[Recorded], list[str]]:
    """The utterances of a conversation's rows, in order, and a note for each row that cannot be replayed.

    Two rows are joined where the user spoke on within 1.5 s of what was taken for the end (the ledger's rule for a
    cut-off): a more patient policy would have made one turn of them.
    """
    found: list[Recorded] = []
    notes: list[str] = []
    for turn in turns:
        record = turn.evidence.get("recorded")
        if not isinstance(record, Mapping) or not record.get("windows"):
            notes.append(f"turn {turn.id}: no recorded evidence; run with --set turn.record_evidence=true")
            continue
        try:
            one = _of(turn, record)
        except (KeyError, TypeError, ValueError) as error:
            notes.append(f"turn {turn.id}: its evidence cannot be read ({type(error).__name__}: {error})")
            continue
        if not one.evidence.pauses:
            notes.append(f"turn {turn.id}: no end of speech in its evidence")
            continue
        before = found[-1] if found else None
        if before is not None and 0 <= float(record["began_s"]) - before.evidence.speech_end_s <= GOES_ON_WITHIN_S:
            found[-1] = _joined(before, one)
        else:
            found.append(one)
    return found, notes


def _of(turn: Turn, record: Mapping[str, Any]) -> Recorded:
    windows = [(float(end), float(p)) for end, p in record["windows"]]
    speech = [end for end, p in windows if p > SPEECH]
    evidence = Evidence(
        name=f"{turn.item or turn.id}",
        kind="whole",
        speech_end_s=speech[-1] if speech else windows[-1][0],
        windows=windows,
        passes=[(float(b), float(r), str(t)) for b, r, t in record["passes"]],
        scores={str(w): (float(s), float(took)) for w, s, took in record["scores"]},
        energy_drop=[float(end) for end in record.get("fading", ())],  # not kept before version 1.1
    )
    return Recorded(evidence, stage_times(turn), dict(record["settings"]), (turn,))


def _joined(first: Recorded, then: Recorded) -> Recorded:
    a, b = first.evidence, then.evidence
    last = a.windows[-1][0]
    text = a.passes[-1][2] if a.passes else ""
    windows = [*a.windows, *((end, p) for end, p in b.windows if end > last + WINDOW_S / 2)]
    passes = [*a.passes, *((begun, ready, f"{text} {t}".strip()) for begun, ready, t in b.passes)]
    evidence = Evidence(
        a.name,
        a.kind,
        b.speech_end_s,
        windows,
        passes,
        {**a.scores, **b.scores},
        energy_drop=[*a.energy_drop, *b.energy_drop],
    )
    return Recorded(evidence, then.stage_times, first.settings, (*first.turns, *then.turns))


def save(path: Path, items: Sequence[Evidence]) -> None:
    """Write as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(item) for item in items]))


def load(path: Path) -> list[Evidence]:
    """Read what :func:`save` wrote. Raises UsageError for another file."""
    found = []
    try:
        for item in json.loads(path.read_text()):
            values: dict[str, Any] = dict(item)
            values["windows"] = [tuple(w) for w in item["windows"]]
            values["passes"] = [tuple(p) for p in item["passes"]]
            values["scores"] = {words: tuple(v) for words, v in item["scores"].items()}
            found.append(Evidence(**values))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path}: no recorded evidence can be read from it ({error})") from None
    return found
