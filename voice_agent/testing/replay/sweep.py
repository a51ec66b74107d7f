"""Recorded conversations under other settings: turn by turn, and along a range of one setting (a dial). Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...budget.stats import Spread, percentile
from ...config import TurnConfig
from ...config import load as load_config
from ...errors import ConfigError, UsageError
from .chart import Series, svg
from .core import ReplayOutcome, replay
from .recorded import Recorded

MAX_VALUES = 101


@dataclass(frozen=True, slots=True)
class Compared:
    """An utterance as measured, replayed under its own settings, and replayed under the changed ones."""

    recorded: Recorded
    same: ReplayOutcome
    other: ReplayOutcome

    @property
    def change_ms(self) -> float | None:
        """How much later the answer would have been audible; None where one of the two was not."""
        if self.same.delay_s is None or self.other.delay_s is None:
            return None
        return (self.other.delay_s - self.same.delay_s) * 1000


def settings_of(recorded: Recorded, changes: Mapping[str, Any]) -> TurnConfig:
    """The recording's own ``[turn]`` settings, with ``changes``. Raises ConfigError for an unknown setting."""
    known = {f.name for f in dataclasses.fields(TurnConfig)}
    if unknown := set(recorded.settings) - known:
        raise ConfigError(f"the recording has settings that this version lacks: turn.{', turn.'.join(sorted(unknown))}")
    return TurnConfig(**{**recorded.settings, **changes})


def changes_of(pairs: Sequence[str]) -> dict[str, Any]:
    """``["turn.patience=0.7"]`` -> ``{"patience": 0.7}``, checked. Raises UsageError, ConfigError."""
    flags: dict[str, Any] = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found or not key.startswith("turn."):
            raise UsageError(f"--set {pair}: a replay can change the turn only, such as --set turn.patience=0.7")
        flags[key] = value
    turn = load_config(env={}, flags=flags).turn
    return {key.removeprefix("turn."): getattr(turn, key.removeprefix("turn.")) for key in flags}


def compare(utterances: Sequence[Recorded], changes: Mapping[str, Any]) -> list[Compared]:
    """Every utterance under its own settings, and with ``changes``."""
    return [
        Compared(
            one,
            replay(one.evidence, settings_of(one, {}), one.stage_times),
            replay(one.evidence, settings_of(one, changes), one.stage_times),
        )
        for one in utterances
    ]


@dataclass(frozen=True, slots=True)
class Dial:
    """A setting of ``[turn]`` and the values to try."""

    key: str
    values: tuple[float, ...]


def parse_dial(text: str) -> Dial:
    """``turn.patience=0..1/5`` (five values from 0 to 1) or ``turn.patience=0,0.3,1``.

    Raises UsageError, and ConfigError for a value that the setting does not allow.
    """
    shape = "write turn.patience=0..1/5 (five values from 0 to 1) or turn.patience=0,0.3,1"
    key, found, value = text.partition("=")
    if not found or not key.startswith("turn."):
        raise UsageError(f"--dial {text}: {shape}")
    span = re.fullmatch(r"(-?[\d.]+)\.\.(-?[\d.]+)/(\d+)", value.strip())
    try:
        if span is not None:
            low, high, count = float(span[1]), float(span[2]), int(span[3])
            if not 2 <= count <= MAX_VALUES:
                raise UsageError(f"--dial {text}: 2 to {MAX_VALUES} values, not {count}")
            values = [round(low + (high - low) * i / (count - 1), 6) for i in range(count)]
        else:
            values = [float(v) for v in value.split(",")]
    except ValueError:
        raise UsageError(f"--dial {text}: {shape}") from None
    for v in values:
        changes_of([f"{key}={v:g}"])  # each within what the setting allows
    return Dial(key.removeprefix("turn."), tuple(values))


@dataclass(frozen=True, slots=True)
class Point:
    """All utterances at one value of the dial. ``delay``: of those that were answered and not cut off."""

    value: float
    n: int
    delay: Spread | None
    cut_offs: int
    unanswered: int
    requests: float
    tokens_wasted: float


def sweep(utterances: Sequence[Recorded], dial: Dial, changes: Mapping[str, Any] | None = None) -> list[Point]:
    """One point a value. ``changes``: settings that hold for all of them."""
    whole = {f.name for f in dataclasses.fields(TurnConfig) if isinstance(f.default, int)}
    points = []
    for value in dial.values:
        set_to = int(value) if dial.key in whole else value
        named = {**(changes or {}), dial.key: set_to}
        outcomes = [replay(one.evidence, settings_of(one, named), one.stage_times) for one in utterances]
        points.append(_point(value, outcomes))
    return points


def _point(value: float, outcomes: Sequence[ReplayOutcome]) -> Point:
    delays = sorted(o.delay_s * 1000 for o in outcomes if o.delay_s is not None and not o.cut)
    n = len(outcomes)
    return Point(
        value=value,
        n=n,
        delay=Spread(len(delays), percentile(delays, 50), percentile(delays, 95), delays[-1]) if delays else None,
        cut_offs=sum(o.cut for o in outcomes),
        unanswered=sum(o.delay_s is None and not o.cut for o in outcomes),
        requests=sum(o.requests for o in outcomes) / n if n else 0.0,
        tokens_wasted=sum(o.tokens_wasted for o in outcomes) / n if n else 0.0,
    )


def picture(dial: Dial, points: Sequence[Point]) -> str:
    """The trade as SVG: cut-offs against delay, a point a value."""
    drawn = tuple(
        (p.delay.p50_ms, 100 * p.cut_offs / p.n, f"{p.value:g}") for p in points if p.delay is not None and p.n
    )
    n = points[0].n if points else 0
    title = f"Cut-offs against delay along turn.{dial.key} ({n} recorded turns; lower left is better)"
    return svg(title, "P50 voice to voice, ms", "turns cut off, %", [Series(f"turn.{dial.key}", drawn)])
