"""The ledger that walks beside the road: what each turn's milliseconds went to, and whether that was allowed.

Read in this order: ``path.py`` (marks, and how the time between them is cut up), ``ledger.py`` (a turn, a budget, a
verdict), ``stats.py`` (a session), ``export.py`` (JSON lines), ``console_report.py`` (the screen; not imported here, since it
needs rich), ``probe.py`` (how the stages tell), ``attach.py`` (how an ``AgentSession`` is listened to).
"""

from __future__ import annotations

from .ledger import (
    Budget,
    Failure,
    Mark,
    Models,
    PathStep,
    Speculation,
    Stage,
    Turn,
    TurnBuilder,
    Usage,
    Verdict,
    verdict,
)
from .stats import SessionStats, Spread, Summary

__all__ = [
    "Budget",
    "Failure",
    "Mark",
    "Models",
    "PathStep",
    "SessionStats",
    "Speculation",
    "Spread",
    "Stage",
    "Summary",
    "Turn",
    "TurnBuilder",
    "Usage",
    "Verdict",
    "verdict",
]
