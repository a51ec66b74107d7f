"""A budget, and the verdict on a turn: over budget or not, and the guilty stage. Pure."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from ..config import BudgetConfig
from ..errors import ConfigError
from .ledger import Turn
from .path import NS_PER_MS, Stage, spans_ns


@dataclass(frozen=True, slots=True)
class Budget:
    """The allowed milliseconds: total, and a share for each stage. The shares need not sum to the total.

    The defaults are those of ``[budget]`` in the configuration; stages that it does not name have no share.
    ``counts``: what ends the wait if an acknowledgement came before the answer: ``answer``, or the ``first`` sound.
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
    """A turn compared with a budget. ``over`` is None if the turn has no voice-to-voice time.

    If ``over``, ``guilty`` is the stage that exceeds its share most, and ``guilty_by_ms`` (above 0) by how much.
    """

    over: bool | None
    over_by_ms: float = 0.0
    guilty: Stage | None = None
    guilty_by_ms: float = 0.0


def verdict(turn: Turn, budget: Budget) -> Verdict:
    """Whether ``turn`` took longer than ``budget`` allows, and which stage exceeds its share most.

    If the shares sum to more than the total, a turn can be late although no stage exceeds its share. Then the shares
    are scaled down to the total, and some stage exceeds its own, because the spans sum to more than the shares.
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
