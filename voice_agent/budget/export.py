"""Turns as JSON lines: one object a turn, written when the turn ends, readable after a crash.

``docs/ledger.md`` describes the row. Its figures are tenths of a millisecond and derive from marks rounded to the same
grid, so the printed spans sum to the printed total.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO

from ..errors import UsageError
from .ledger import Failure, Mark, Models, Speculation, Turn, Usage
from .path import NS_PER_MS, NS_PER_S, hidden_ns, spans_ns, to_ns
from .turn_verdict import Budget, verdict

SCHEMA = 1
_TENTH_NS = 100_000


def to_row(turn: Turn, budget: Budget, *, item: str | None = None) -> dict[str, Any]:
    """The turn as a JSON object. ``item``: the item of the script, instead of the turn's own."""
    turn = rebased(turn)
    judged = verdict(turn, budget)
    path = turn.path
    return {
        "schema": SCHEMA,
        "turn": turn.id,
        "item": turn.item if item is None else item,
        "user_text": turn.user_text,
        "agent_text": turn.agent_text,
        "speech_ended_s": _rounded(turn.speech_ended_s, 4),
        "first_audible_s": _rounded(turn.first_audible_s, 4),
        "voice_to_voice_ms": _tenths(turn.voice_to_voice_ns),
        "spans_ms": {str(stage): _tenths(ns) for stage, ns in spans_ns(path).items()},
        "hidden_ms": {str(stage): _tenths(ns) for stage, ns in hidden_ns(path).items()},
        "marks_ms": {str(mark): None if at is None else _tenths(to_ns(at)) for mark, at in turn.marks.items()},
        "over_budget": judged.over,
        "over_by_ms": _rounded(judged.over_by_ms, 1) if judged.over else None,
        "guilty": None if judged.guilty is None else str(judged.guilty),
        "guilty_by_ms": _rounded(judged.guilty_by_ms, 1) if judged.over else None,
        "cut_off": turn.cut_off,
        "overlap_ms": _rounded(turn.overlap_ms, 1),
        "interrupted": turn.interrupted,
        "reopened": turn.reopened,
        "simulated": list(turn.simulated),
        "error": None if turn.error is None else {"type": turn.error.kind, "message": turn.error.message},
        "speculation": {
            "requests": turn.speculation.requests,
            "used": turn.speculation.used,
            "thrown_away": turn.speculation.thrown_away,
            "tokens_wasted": turn.speculation.tokens_wasted,
            "lead_ms": _rounded(turn.lead_ms, 1),
        },
        "tokens": {"prompt": turn.usage.prompt_tokens, "completion": turn.usage.completion_tokens},
        "provider_ms": {
            "queue": _rounded(turn.usage.queue_ms, 1),
            "prompt": _rounded(turn.usage.prompt_ms, 1),
            "completion": _rounded(turn.usage.completion_ms, 1),
        },
        "models": {
            "provider": turn.models.provider,
            "llm": turn.models.model,
            "stt": turn.models.stt_model,
            "voice": turn.models.voice,
        },
        "audio_gaps": {"count": turn.audio_gaps, "ms": _rounded(turn.audio_gaps_ms, 1)},
        "first_audible_kind": turn.first_audible_kind,
        "acknowledged_ms": None if turn.acknowledged is None else _tenths(to_ns(turn.acknowledged)),
        "ladder": _json(turn.degradation),
        "evidence": _json(turn.evidence),
        "budget_ms": {"total": budget.total_ms} | {str(stage): ms for stage, ms in budget.shares_ms.items()},
    }


def rebased(turn: Turn, grid_ns: int = NS_PER_MS // 10) -> Turn:
    """The turn with its marks relative to ``speech_ended`` (or to its first mark) and rounded to ``grid_ns``
    nanoseconds.

    All figures of the result derive from the rounded marks, so printed figures agree to the last digit.
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


def from_row(row: Mapping[str, Any]) -> Turn:
    """The turn of a row, its marks in seconds after ``speech_ended``. Unknown keys are ignored.

    Raises ValueError for a row of another schema, a missing key (named in the message) or a value of the wrong type.
    """
    if row.get("schema") != SCHEMA:
        raise ValueError(f"schema {row.get('schema')!r}: this version reads schema {SCHEMA}")
    try:
        marks = row["marks_ms"]
        speculation, usage, provider_ms, models = (
            row["speculation"], row["tokens"], row["provider_ms"], row["models"],
        )  # fmt: skip
        error = row["error"]
        return Turn(
            id=row["turn"],
            marks=MappingProxyType({m: None if marks[m] is None else round(marks[m] * 10) / 10_000 for m in Mark}),
            item=row["item"],
            user_text=row["user_text"],
            agent_text=row["agent_text"],
            models=Models(models["provider"], models["llm"], models["stt"], models["voice"]),
            usage=Usage(
                usage["prompt"], usage["completion"],
                provider_ms["queue"], provider_ms["prompt"], provider_ms["completion"],
            ),
            speculation=Speculation(
                speculation["requests"], speculation["used"], speculation["thrown_away"], speculation["tokens_wasted"]
            ),
            interrupted=row["interrupted"],
            cut_off=row["cut_off"],
            reopened=row["reopened"],
            simulated=tuple(row["simulated"]),
            error=None if error is None else Failure(error["type"], error["message"]),
            evidence=MappingProxyType(dict(row["evidence"])),
            speech_ended_s=row["speech_ended_s"],
            first_audible_s=row["first_audible_s"],
            audio_gaps=row["audio_gaps"]["count"],
            audio_gaps_ms=row["audio_gaps"]["ms"],
            acknowledged=None if (at := row.get("acknowledged_ms")) is None else round(at * 10) / 10_000,
            degradation=MappingProxyType(dict(row.get("ladder") or {})),
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f"the key {error} is missing") from None
    except TypeError as error:
        raise ValueError(f"a value has the wrong type: {error}") from None


class JsonlWriter:
    """Appends one line a turn. Each line is handed to the operating system before :meth:`write` returns.

    So a crash of the program loses nothing; only a power failure may lose the last seconds. An fsync after each turn
    would prevent that, but can delay the audio by tens of milliseconds: it is done once, in :meth:`close`. A context
    manager. Raises UsageError if the file cannot be opened or written.
    """

    def __init__(self, path: str | Path, budget: Budget | None = None) -> None:
        self.path = Path(path)
        self._budget = budget or Budget()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self.path.open("ab+", buffering=0)  # closed by close()
            self._end_torn_line()
        except OSError as error:
            raise self._cannot(error) from error

    def write(self, turn: Turn, *, item: str | None = None) -> None:
        """Append one turn."""
        line = json.dumps(to_row(turn, self._budget, item=item), ensure_ascii=False, allow_nan=False)
        # A lone surrogate cannot be encoded; its escape is the same in JSON.
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._cannot(error) from error

    def close(self) -> None:
        """Sync the file to the disk and close it. A second call does nothing."""
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            if self.path.is_file():  # a pipe or /dev/stdout cannot be synced
                raise self._cannot(error) from error
        finally:
            self._file.close()

    def __enter__(self) -> JsonlWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _end_torn_line(self) -> None:
        """End the last line if an earlier run was killed while writing it, so that this run's first line stays
        intact."""
        if self._file.seekable() and self._file.seek(0, os.SEEK_END) > 0:
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def _cannot(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot write turns to {self.path}: {error.strerror}. Name a file in a folder you may write to."
        )


def read_jsonl(path: str | Path) -> tuple[list[Turn], list[str]]:
    """All turns of a file, and a note for each line that is not a turn. Raises UsageError if it cannot be read."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read turns from {path}: {error.strerror}") from error
    turns: list[Turn] = []
    problems: list[str] = []
    # Not splitlines(): it also splits at characters that may occur inside a line of JSON.
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            torn = number == len(lines)
            what = (
                "torn (the program that wrote it ended in mid-line)"
                if torn
                else "not JSON (torn, or not written by us)"
            )
            problems.append(f"line {number}: {what}; skipped")
            continue
        try:
            if not isinstance(row, dict):
                raise ValueError("not an object")
            turns.append(from_row(row))
        except ValueError as error:
            problems.append(f"line {number}: not a turn ({error}); skipped")
    return turns, problems


def _tenths(ns: int | None) -> float | None:
    """Nanoseconds to milliseconds, in tenths."""
    return None if ns is None else ((ns + _TENTH_NS // 2) // _TENTH_NS) / 10


def _rounded(value: float | None, digits: int) -> float | None:
    """``value`` rounded; None if it is not finite, which JSON cannot express."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def _json(value: Any) -> Any:
    """``value`` in JSON's types. Of any other object only the type's name: its ``repr`` could contain a secret."""
    match value:
        case None | bool() | str():
            return value
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {str(key): _json(entry) for key, entry in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_json(entry) for entry in value]
        case _ if callable(getattr(value, "tolist", None)):  # numpy's arrays and numbers, without needing numpy
            return _json(value.tolist())
        case _:
            return f"<{type(value).__name__}>"
